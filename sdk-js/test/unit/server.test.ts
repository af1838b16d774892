import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { Analytics } from '../../src/server.js';
import { spool } from '../../src/spool.js';
import { version } from '../../src/version.js';
import { once, openHub } from './hub.js';

const settings = { writeKey: 'WK', host: 'https://hub.example.com' };

describe('server', () => {
  test('every call as it goes over the wire', async () => {
    const hub = openHub();
    const analytics = new Analytics({ ...settings, fetch: hub.fetch, context: { app: { name: 'shop' } }, integrations: { All: true } });
    const at = new Date('2025-05-05T05:05:05.050Z');
    analytics.identify({ userId: 'u', traits: { email: 'ada@example.com' }, messageId: '1', timestamp: at });
    analytics.track({ anonymousId: 'a', event: 'E', properties: { n: 1 }, messageId: '2', timestamp: +at, integrations: { Mail: false } });
    analytics.page({ userId: 'u', category: 'Docs', name: 'Start', messageId: '3', timestamp: at.toISOString(), context: { app: { version: '2' } } });
    analytics.screen({ userId: 'u', name: 'Cart', messageId: '4', timestamp: at });
    analytics.group({ userId: 'u', groupId: 'g', traits: { name: 'Acme' }, messageId: '5', timestamp: at });
    analytics.alias({ userId: 'u', previousId: 'a', messageId: '6', timestamp: at });
    expect(await analytics.closeAndFlush()).toBe(true);
    const library = { name: '@tidegate/sdk-js', version };
    const { timezone } = hub.events()[0].context;
    const context = { library, timezone, app: { name: 'shop' } };
    const common = { timestamp: '2025-05-05T05:05:05.050Z', context, integrations: { All: true } };
    expect(hub.events()).toEqual([
      { type: 'identify', messageId: '1', userId: 'u', traits: { email: 'ada@example.com' }, ...common },
      { type: 'track', messageId: '2', anonymousId: 'a', event: 'E', properties: { n: 1 }, ...common, integrations: { All: true, Mail: false } },
      { type: 'page', messageId: '3', userId: 'u', category: 'Docs', name: 'Start', properties: { category: 'Docs', name: 'Start' }, ...common, context: { ...context, app: { name: 'shop', version: '2' } } },
      { type: 'screen', messageId: '4', userId: 'u', name: 'Cart', properties: { name: 'Cart' }, ...common },
      { type: 'group', messageId: '5', userId: 'u', groupId: 'g', traits: { name: 'Acme' }, ...common },
      { type: 'alias', messageId: '6', userId: 'u', previousId: 'a', ...common },
    ]);
  });

  test('says at once what is wrong with a call', () => {
    expect(() => new Analytics({ writeKey: '', host: 'x' })).toThrow('writeKey and host');
    const analytics = new Analytics({ ...settings, fetch: openHub().fetch });
    expect(() => analytics.track({ event: 'E' } as never)).toThrow('userId or an anonymousId');
    expect(() => analytics.track({ userId: 'u' } as never)).toThrow('event');
  });

  test('a circle in the properties harms nobody else', async () => {
    const hub = openHub();
    const analytics = new Analytics({ ...settings, fetch: hub.fetch });
    const errors: unknown[] = [];
    analytics.on('error', (error: unknown) => errors.push(error));
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    analytics.track({ userId: 'u', event: 'E', properties: circle });
    analytics.track({ userId: 'u', event: 'E', messageId: 'fine' });
    await analytics.closeAndFlush();
    expect(errors).toHaveLength(1);
    expect(once(hub.events())).toEqual(['fine']);
  });

  test('a spool keeps events for the next process, and gives each to one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spool-'));
    try {
      const down = openHub(...Array.from({ length: 100 }, () => 'reset' as const));
      const first = new Analytics({ ...settings, fetch: down.fetch, spool: spool(folder) });
      for (let i = 0; i < 10; i++) first.track({ userId: 'u', event: 'E', messageId: `${i}` });
      expect(await first.closeAndFlush({ timeout: 1 })).toBe(false);
      expect(readdirSync(folder).filter((name) => name.includes('tg_q'))).toHaveLength(10);

      const hub = openHub();
      const next = new Analytics({ ...settings, fetch: hub.fetch, spool: spool(folder) });
      await new Promise<void>((resolve) => next.on('delivered', () => resolve()));
      expect(once(hub.events())).toEqual(Array.from({ length: 10 }, (_, i) => `${i}`));
      await next.closeAndFlush();
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('typed events', () => {
    const analytics = new Analytics<{ 'Order Completed': { total: number } }>({ ...settings, fetch: openHub().fetch });
    type Message = Parameters<typeof analytics.track<'Order Completed'>>[0];
    expectTypeOf<Message['properties']>().toEqualTypeOf<{ total: number } | undefined>();
    // @ts-expect-error -- an event that is not in the map
    analytics.track({ userId: 'u', event: 'Order Complete' });
    // @ts-expect-error -- neither id
    expect(() => analytics.track({ event: 'Order Completed' })).toThrow();
  });
});
