import { beforeEach, describe, expect, test, vi } from 'vitest';
import { Analytics } from '../../src/server.js';
import { once, openHub, type Hub } from './hub.js';

const open = (hub: Hub, settings: object = {}) => new Analytics({ writeKey: 'WK', host: 'https://hub.example.com/', fetch: hub.fetch, ...settings });
const track = (analytics: Analytics, ...ids: string[]) => ids.forEach((messageId) => analytics.track({ userId: 'u', event: 'E', messageId }));

beforeEach(() => {
  vi.useFakeTimers({ now: new Date('2026-01-01T00:00:00Z') });
  vi.spyOn(Math, 'random').mockReturnValue(0);
  return () => vi.useRealTimers();
});

describe('delivery', () => {
  test('one request a batch, in order, with key and time', async () => {
    const hub = openHub();
    const analytics = open(hub);
    track(analytics, 'a', 'b');
    await vi.advanceTimersByTimeAsync(999);
    expect(hub.requests).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(hub.requests).toHaveLength(1);
    const [{ url, headers, body }] = hub.requests;
    expect(url).toBe('https://hub.example.com/v1/batch');
    expect(headers).toEqual({ 'Content-Type': 'application/json', Authorization: 'Basic V0s6' });
    expect(body).toMatchObject({ writeKey: 'WK', sentAt: '2026-01-01T00:00:01.000Z' });
    expect(body.batch.map((event) => event.messageId)).toEqual(['a', 'b']);
  });

  test('leaves at once when flushAt is reached', async () => {
    const hub = openHub();
    track(open(hub, { flushAt: 3 }), 'a', 'b', 'c');
    await vi.advanceTimersByTimeAsync(0);
    expect(hub.events()).toHaveLength(3);
  });

  test.each([
    ['500', { status: 500 }, 500],
    ['a reset', 'reset' as const, 500],
    ['429 without a time', { status: 429 }, 500],
    ['429 with seconds', { status: 429, headers: { 'Retry-After': '7' } }, 7_000],
    ['503 with a date', { status: 503, headers: { 'Retry-After': 'Thu, 01 Jan 2026 00:00:31 GMT' } }, 30_000],
    ['408', { status: 408 }, 500],
    ['401: a wrong key may be mended', { status: 401 }, 500],
    ['404: a path that a proxy does not know yet', { status: 404 }, 500],
    ['501', { status: 501 }, 500],
    ['a redirect that was not followed', { status: 304 }, 500],
  ])('after %s it comes again, the same, and no sooner than it may', async (_, answer, pause) => {
    const hub = openHub(answer);
    track(open(hub), 'a', 'b');
    await vi.advanceTimersByTimeAsync(1_000 + pause - 1);
    expect(hub.requests).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2);
    expect(hub.requests).toHaveLength(2);
    expect(hub.requests[1].body.batch).toEqual(hub.requests[0].body.batch);
    expect(once(hub.events())).toEqual(['a', 'b']);
  });

  test('pauses grow to the limit and start small after a success', async () => {
    const hub = openHub(...Array.from({ length: 12 }, () => ({ status: 500 })));
    const analytics = open(hub, { maxBackoff: 8_000 });
    const pauses: number[] = [];
    analytics.on('retry', (_status: number, pause: number) => pauses.push(pause));
    track(analytics, 'a');
    await vi.advanceTimersByTimeAsync(100_000);
    expect(pauses.slice(0, 6)).toEqual([500, 1_000, 2_000, 4_000, 4_000, 4_000]);
    hub.plan.push({ status: 500 });
    track(analytics, 'b');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(pauses.at(-1)).toBe(500);
    expect(once(hub.events())).toEqual(['a', 'b']);
  });

  test('new events do not shorten a pause that the server named', async () => {
    const hub = openHub({ status: 429, headers: { 'Retry-After': '60' } });
    const analytics = open(hub, { flushAt: 1 });
    track(analytics, 'a');
    await vi.advanceTimersByTimeAsync(1_000);
    track(analytics, 'b', 'c');
    await analytics.flush();
    await vi.advanceTimersByTimeAsync(58_000);
    expect(hub.requests).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(once(hub.events())).toEqual(['a', 'b', 'c']);
  });

  test('an answer that never comes is given up, and a repeat is known by its messageId', async () => {
    vi.useRealTimers();
    const hub = openHub('silence');
    const analytics = open(hub, { flushAt: 1, timeout: 50 });
    track(analytics, 'a');
    expect(await analytics.closeAndFlush({ timeout: 10_000 })).toBe(true);
    expect(hub.events()).toHaveLength(2);
    expect(once(hub.events())).toEqual(['a']);
  });

  test('a batch refused as a whole is halved until the bad event stands alone', async () => {
    const hub = openHub();
    const judged: typeof fetch = (url, init) => {
      const { batch } = JSON.parse(init?.body as string) as { batch: { messageId: string }[] };
      if (batch.some(({ messageId }) => messageId === 'bad')) hub.plan.unshift({ status: 400, body: { message: 'no' } });
      return hub.fetch(url, init);
    };
    const analytics = open(hub, { fetch: judged });
    const dropped: [string, string][] = [];
    analytics.on('dropped', (event: { messageId: string }, reason: string) => dropped.push([event.messageId, reason]));
    track(analytics, ...'abcdefg'.split(''), 'bad', ...'hijklmnop'.split(''));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(dropped).toEqual([['bad', 'status 400: no']]);
    expect(once(hub.events())).toEqual('abcdefghijklmnop'.split(''));
  });

  test('what the server refused of a batch that it took is told', async () => {
    const hub = openHub({ status: 200, body: { errors: [{ index: 1, code: 'event.no_name', message: 'a name is missing' }] } });
    const analytics = open(hub);
    const rejected: [string, string][] = [];
    analytics.on('rejected', (event: { messageId: string }, reason: string) => rejected.push([event.messageId, reason]));
    track(analytics, 'a', 'b');
    await vi.advanceTimersByTimeAsync(5_000);
    expect(rejected).toEqual([['b', 'event.no_name: a name is missing']]);
    expect(hub.requests).toHaveLength(1);
  });

  test('gives up by age only', async () => {
    const hub = openHub(...Array.from({ length: 10_000 }, () => ({ status: 500 })));
    const analytics = open(hub, { maxAge: 3_600_000 });
    const dropped: string[] = [];
    analytics.on('dropped', (event: { messageId: string }, reason: string) => dropped.push(`${event.messageId} ${reason}`));
    track(analytics, 'a');
    await vi.advanceTimersByTimeAsync(3_500_000);
    expect(dropped).toEqual([]);
    await vi.advanceTimersByTimeAsync(200_000);
    expect(dropped).toEqual(['a too old']);
  });

  test('never more than one request under way', async () => {
    let under = 0;
    let most = 0;
    const hub = openHub();
    const slow: typeof fetch = async (url, init) => {
      most = Math.max(most, ++under);
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      under--;
      return hub.fetch(url, init);
    };
    const analytics = open(hub, { fetch: slow, flushAt: 1 });
    for (let i = 0; i < 30; i++) {
      track(analytics, `${i}`);
      await vi.advanceTimersByTimeAsync(500);
    }
    await vi.advanceTimersByTimeAsync(30_000);
    expect(most).toBe(1);
    expect(hub.events().map((event) => event.messageId)).toEqual(Array.from({ length: 30 }, (_, i) => `${i}`));
  });

  test('splits at the limit of bytes and refuses an event that is too large', async () => {
    const hub = openHub();
    const analytics = open(hub);
    const dropped: string[] = [];
    analytics.on('dropped', (_event: unknown, reason: string) => dropped.push(reason));
    for (let i = 0; i < 20; i++) analytics.track({ userId: 'u', event: 'E', properties: { text: 'ü'.repeat(16_000) } });
    analytics.track({ userId: 'u', event: 'E', properties: { text: 'ü'.repeat(17_000) } });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(dropped).toEqual(['too large']);
    expect(hub.requests.map(({ body }) => body.batch.length)).toEqual([13, 7]);
    for (const { body } of hub.requests) expect(Buffer.byteLength(JSON.stringify(body))).toBeLessThan(480_000);
  });

  test('a full queue says so', async () => {
    const hub = openHub();
    const analytics = open(hub, { maxQueueSize: 1 });
    const errors: unknown[] = [];
    analytics.track({ userId: 'u', event: 'E' }, (error) => errors.push(error));
    analytics.track({ userId: 'u', event: 'E' }, (error) => errors.push(error));
    expect(errors).toEqual([undefined, new Error('tidegate: the event was not taken')]);
  });

  test('closeAndFlush empties the queue through failures, within its time', async () => {
    const hub = openHub({ status: 500 }, 'reset', { status: 503 });
    const analytics = open(hub);
    track(analytics, 'a', 'b');
    const done = analytics.closeAndFlush({ timeout: 60_000 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await done).toBe(true);
    expect(once(hub.events())).toEqual(['a', 'b']);
    const refused: unknown[] = [];
    analytics.track({ userId: 'u', event: 'late' }, (error) => refused.push(error));
    expect(refused).toEqual([new Error('tidegate: closed')]);

    const dead = open(openHub(...Array.from({ length: 999 }, () => 'reset' as const)));
    track(dead, 'a');
    const end = dead.closeAndFlush({ timeout: 5_000 });
    await vi.advanceTimersByTimeAsync(6_000);
    expect(await end).toBe(false);
    expect(vi.getTimerCount()).toBe(0); // nothing keeps the process
  });
});
