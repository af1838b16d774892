import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { load } from '../../src/index.js';
import type { Message, Options } from '../../src/message.js';
import { Analytics } from '../../src/server.js';
import { openHub } from './hub.js';
import { openPage } from './page.js';

/** ingest/testdata/wire/README.md says what the files mean. */
const folder = fileURLToPath(new URL('../../../ingest/testdata/wire/sdk/', import.meta.url));

interface Call extends Options {
  method: 'track' | 'identify' | 'page' | 'screen' | 'group' | 'alias';
  event?: string;
  name?: string;
  category?: string;
  properties?: Record<string, unknown>;
  traits?: Record<string, unknown>;
  groupId?: string;
  previousId?: string;
}

interface Fixture {
  about: string;
  calls: Call[];
  expect: Record<string, unknown>[];
}

const fixtures = readdirSync(folder).filter((name) => name.endsWith('.json')).map((name) => [name, JSON.parse(readFileSync(folder + name, 'utf8')) as Fixture] as const);

/** The rules of the README: what is named is there and equal, what is not may only be what an SDK may add. */
function compare(events: Message[], wanted: Fixture['expect']): void {
  expect(events).toHaveLength(wanted.length);
  const ids = events.map(({ messageId }) => messageId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const [i, want] of wanted.entries()) {
    const event = JSON.parse(JSON.stringify(events[i])) as Record<string, unknown>;
    const { context = {}, properties, ...members } = want as { context?: object; properties?: object; type: string };
    for (const [key, value] of Object.entries(members)) {
      if (value === '<id>') expect(event[key]).toMatch(/^.{1,99}$/s);
      else if (value === '<time>') expect(new Date(event[key] as string).toISOString()).toBe(event[key]);
      else if (key === 'timestamp') expect(Date.parse(event[key] as string)).toBe(Date.parse(value));
      else expect(event[key], key).toEqual(value);
    }
    expect(event['context']).toMatchObject(context);
    const viewed = members.type === 'page' || members.type === 'screen';
    if (viewed) expect(event['properties'] ?? {}).toMatchObject(properties ?? {});
    else expect(event['properties'] ?? {}).toEqual(properties ?? {});
    const allowed = ['anonymousId', 'userId', 'integrations', 'context', 'sentAt', 'properties', 'traits', ...(viewed ? ['category'] : [])];
    for (const key of Object.keys(event)) if (!(key in want)) expect(allowed).toContain(key);
    if (!('traits' in want)) expect(event['traits'] ?? {}).toEqual({});
  }
}

test('there are fixtures', () => expect(fixtures.length).toBeGreaterThan(14));

test.each(fixtures)('the server SDK: %s', async (_, fixture) => {
  const hub = openHub();
  const analytics = new Analytics({ writeKey: 'WK', host: 'https://hub.example.com', fetch: hub.fetch });
  for (const { method, ...message } of fixture.calls) (analytics[method] as (message: object) => void).call(analytics, message);
  expect(await analytics.closeAndFlush()).toBe(true);
  compare(hub.events(), fixture.expect);
});

test.each(fixtures)('the browser SDK: %s', async (_, fixture) => {
  const hub = openHub();
  openPage();
  const analytics = load({ writeKey: 'WK', host: 'https://hub.example.com', fetch: hub.fetch });
  for (const { method, event, name, category, properties, traits, groupId, previousId, ...options } of fixture.calls) {
    if (method === 'track') void analytics.track(event as string, properties, options);
    else if (method === 'identify') void (options.userId ? analytics.identify(options.userId, traits, options) : analytics.identify(traits ?? {}, options));
    else if (method === 'group') void analytics.group(groupId as string, traits ?? {}, options);
    else if (method === 'alias') void analytics.alias(options.userId as string, previousId, { ...options, userId: undefined });
    else void analytics[method](...([category, name, properties, options] as Parameters<typeof analytics.page>));
  }
  expect(await analytics.flush()).toBe(true);
  compare(hub.events(), fixture.expect);
});
