import { beforeEach, describe, expect, test, vi } from 'vitest';
import { createPipeline } from '../../src/core/pipeline.js';
import type { Message } from '../../src/message.js';
import type { DestinationMiddleware, Plugin } from '../../src/plugin.js';

const event = (name: string, more: Partial<Message> = {}): Message => ({ type: 'track', messageId: name, timestamp: '', event: name, context: {}, ...more });

describe('pipeline', () => {
  let queued: Message[];
  let errors: unknown[];
  let pipeline: ReturnType<typeof createPipeline>;

  beforeEach(() => {
    queued = [];
    errors = [];
    pipeline = createPipeline((message) => !!queued.push(structuredClone(message)), (error) => errors.push(error));
  });

  const add = (plugin: Partial<Plugin>) => pipeline.add({ name: 'plugin', ...plugin }, undefined);
  const use = (middleware: DestinationMiddleware, destination?: string) => pipeline.use(middleware, destination);
  const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 5));

  test('queues before it returns as long as nothing is asynchronous', () => {
    use(({ payload, next }) => next(payload));
    void add({ type: 'before', track: (context) => context });
    void add({ type: 'enrichment', track: (context) => void context.updateEvent('context.app.name', 'shop') });
    void pipeline.run(event('a'));
    expect(queued).toMatchObject([{ event: 'a', context: { app: { name: 'shop' } } }]);
  });

  test('the order of the stations', async () => {
    const way: string[] = [];
    for (const type of ['after', 'destination', 'enrichment', 'before'] as const) void add({ name: type, type, track: () => void way.push(`${type} ${queued.length}`) });
    use(({ payload, next }) => {
      way.push('source 0');
      next(payload);
    });
    use(({ payload, next }) => {
      way.push('for all 1');
      next(payload);
    }, '*');
    use(({ payload, next, integration }) => {
      way.push(`for ${integration} 1`);
      next(payload);
    }, 'destination');
    await pipeline.run(event('a'));
    expect(way).toEqual(['source 0', 'before 0', 'enrichment 0', 'for all 1', 'for destination 1', 'destination 1', 'after 1']);
  });

  test('events keep their order behind a slow one', async () => {
    await add({ type: 'enrichment', track: (context) => (context.event.event === 'slow' ? pause() : undefined) });
    const all = [pipeline.run(event('slow')), pipeline.run(event('b')), pipeline.run(event('c'))];
    await Promise.all(all);
    expect(queued.map((message) => message.event)).toEqual(['slow', 'b', 'c']);
    void pipeline.run(event('d'));
    expect(queued).toHaveLength(4); // at once again
  });

  test('events wait for a plugin that loads', async () => {
    const loading = add({ type: 'enrichment', load: pause, track: (context) => void context.updateEvent('context.seen', true) });
    const run = pipeline.run(event('a'));
    expect(queued).toEqual([]);
    await Promise.all([loading, run]);
    expect(queued).toMatchObject([{ context: { seen: true } }]);
  });

  test('what stops an event, and what does not', async () => {
    const boom = new Error('boom');
    await add({ name: 'cancels', type: 'before', track: (context) => (context.event.event === 'canceled' ? context.cancel() : undefined) });
    await add({ name: 'breaks', type: 'before', track: (context) => {
      if (context.event.event === 'broken before') throw boom;
    } });
    await add({ name: 'enriches', type: 'enrichment', track: async (context) => {
      if (context.event.event === 'broken enrichment') throw boom;
    } });
    use(({ payload, next }) => {
      if (payload.obj.event !== 'kept back') next(payload);
      if (payload.obj.event === 'null') next(null);
    });
    const names = ['canceled', 'broken before', 'broken enrichment', 'kept back', 'null', 'fine'];
    const results = await Promise.all(names.map((name) => pipeline.run(event(name))));
    expect(results.map(Boolean)).toEqual([false, false, true, false, false, true]);
    expect(queued.map((message) => message.event)).toEqual(['broken enrichment', 'fine']);
    expect(errors).toEqual([boom, boom]);
  });

  test('a plugin that never answers is left behind', async () => {
    vi.useFakeTimers();
    try {
      void add({ type: 'enrichment', track: (context) => (context.event.event === 'a' ? new Promise(() => undefined) : undefined) });
      const both = Promise.all([pipeline.run(event('a')), pipeline.run(event('b'))]);
      await vi.advanceTimersByTimeAsync(10_000);
      await both;
      expect(queued.map((message) => message.event)).toEqual(['a', 'b']);
      expect(errors).toHaveLength(1);
    } finally {
      vi.useRealTimers();
    }
  });

  test('destinations: by integrations, on copies, without holding anyone up', async () => {
    const got: Record<string, Message[]> = { Mail: [], Ads: [] };
    for (const name of ['Mail', 'Ads']) await add({ name, type: 'destination', track: async (context) => {
      context.updateEvent('properties.seenBy', name);
      got[name].push(context.event);
      await pause();
      throw new Error('a destination is down');
    } });
    void pipeline.run(event('both'));
    void pipeline.run(event('one', { integrations: { All: false, Mail: true } }));
    void pipeline.run(event('other', { integrations: { Mail: false } }));
    expect(queued).toHaveLength(3);
    await vi.waitFor(() => expect(errors).toHaveLength(4));
    expect(got['Mail'].map((message) => message.event)).toEqual(['both', 'one']);
    expect(got['Ads'].map((message) => message.event)).toEqual(['both', 'other']);
    expect(got['Ads'][0].properties).toEqual({ seenBy: 'Ads' });
    expect(queued[0]).not.toHaveProperty('properties');
  });

  test('a plugin that fails to load is reported, and a removed one is unloaded', async () => {
    await add({ name: 'bad', load: () => Promise.reject(new Error('no')) });
    let unloaded = 0;
    await add({ name: 'good', type: 'before', track: (context) => context.cancel(), unload: () => {
      unloaded++;
    } });
    await pipeline.run(event('a'));
    await pipeline.remove('good');
    await pipeline.run(event('b'));
    expect([errors.length, unloaded, queued.map((message) => message.event)]).toEqual([1, 1, ['b']]);
  });
});
