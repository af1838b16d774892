import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { createQueue, type Queue } from '../../src/core/queue.js';
import type { ListedStore } from '../../src/core/store.js';

const storeOf = (map: Map<string, string>, full = () => false): ListedStore => ({
  get: (key) => map.get(key) ?? null,
  set: (key, value) => !full() && !!map.set(key, value),
  delete: (key) => map.delete(key),
  keys: () => [...map.keys()],
});

/** The store as a tab sees it that can be killed or frozen: then nothing that its timers do has an effect. */
const mortal = (map: Map<string, string>, full?: () => boolean): { awake: boolean; store: ListedStore } => {
  const store = storeOf(map, full);
  const tab: { awake: boolean; store: ListedStore } = {
    awake: true,
    store: { ...store, set: (key: string, value: string) => tab.awake && !!store.set(key, value), delete: (key: string) => tab.awake && store.delete(key) },
  };
  return tab;
};

const textsOf = (queue: Queue) => {
  const batch = queue.take(1_000, 1e9);
  queue.back(batch);
  return batch.map((entry) => entry.text);
};

beforeEach(() => {
  vi.useFakeTimers({ now: new Date('2026-01-01') });
  return () => vi.useRealTimers();
});

/** adopt() waits for a lease to settle. */
const adopt = async (queue: Queue) => {
  const all = queue.adopt();
  await vi.advanceTimersByTimeAsync(1_000);
  return all;
};

describe('queue', () => {
  test('gives the oldest first, within the limits, and never twice at a time', () => {
    const queue = createQueue(storeOf(new Map()), 'k', 100);
    for (const text of ['aaaa', 'bbbb', 'cccc', 'dddd']) queue.push(text);
    const first = queue.take(3, 1_000);
    expect(first.map((entry) => entry.text)).toEqual(['aaaa', 'bbbb', 'cccc']);
    expect(queue.take(3, 1_000).map((entry) => entry.text)).toEqual(['dddd']);
    queue.back(first);
    expect(queue.take(9, 10).map((entry) => entry.text)).toEqual(['aaaa', 'bbbb']);
    expect(queue.take(9, 1).map((entry) => entry.text)).toEqual(['cccc']); // at least one
  });

  test('counts bytes of UTF-8, not characters', () => {
    const queue = createQueue(storeOf(new Map()), 'k', 100);
    queue.push('😀😀');
    queue.push('😀😀');
    expect(queue.take(9, 12)).toHaveLength(1);
  });

  test('refuses what is beyond its limit', () => {
    const queue = createQueue(storeOf(new Map()), 'k', 2);
    expect([queue.push('1'), queue.push('2'), queue.push('3')]).toEqual([true, true, false]);
  });

  test('is found again after a crash, in order, once the lease ran out', async () => {
    const disk = new Map<string, string>();
    const tab = mortal(disk);
    const before = createQueue(tab.store, 'k', 100);
    for (let i = 0; i < 50; i++) before.push(`${i}`);
    tab.awake = false; // the crash
    const after = createQueue(storeOf(disk), 'k', 100);
    expect(await adopt(after)).toBe(false);
    expect(after.size()).toBe(0);
    await vi.advanceTimersByTimeAsync(31_000);
    expect(await adopt(after)).toBe(true);
    expect(textsOf(after)).toEqual(Array.from({ length: 50 }, (_, i) => `${i}`));
  });

  test('is taken over at once from a page that was left', async () => {
    const disk = new Map<string, string>();
    const before = createQueue(storeOf(disk), 'k', 100);
    before.push('x');
    before.leave(true);
    const after = createQueue(storeOf(disk), 'k', 100);
    expect(await adopt(after)).toBe(true);
    expect(textsOf(after)).toEqual(['x']);
  });

  test('leaves a living tab its events', async () => {
    const disk = new Map<string, string>();
    const [one, two] = [createQueue(storeOf(disk), 'k', 100), createQueue(storeOf(disk), 'k', 100)];
    one.push('mine');
    for (let i = 0; i < 20; i++) {
      await vi.advanceTimersByTimeAsync(10_000);
      expect(await adopt(two)).toBe(false);
    }
    expect([textsOf(one), textsOf(two)]).toEqual([['mine'], []]);
  });

  test('two tabs that reach for the same leftovers: one gets them', async () => {
    const disk = new Map<string, string>();
    const dead = createQueue(storeOf(disk), 'k', 100);
    dead.push('x');
    dead.leave(true);
    const [one, two] = [createQueue(storeOf(disk), 'k', 100), createQueue(storeOf(disk), 'k', 100)];
    const both = [one.adopt(), two.adopt()];
    await vi.advanceTimersByTimeAsync(1_000);
    await Promise.all(both);
    expect(one.size() + two.size()).toBe(1);
  });

  test('a tab that slept does not send what another tab took', async () => {
    const disk = new Map<string, string>();
    const tab = mortal(disk);
    const sleeper = createQueue(tab.store, 'k', 100);
    sleeper.push('x');
    tab.awake = false;
    await vi.advanceTimersByTimeAsync(31_000);
    const other = createQueue(storeOf(disk), 'k', 100);
    await adopt(other);
    expect(textsOf(other)).toEqual(['x']);
    tab.awake = true;
    expect(textsOf(sleeper)).toEqual([]);
    sleeper.push('y');
    expect(textsOf(sleeper)).toEqual(['y']);
    expect(await adopt(other)).toBe(false);
    expect(textsOf(other)).toEqual(['x']);
  });

  test('waits in memory when the store is full', () => {
    const queue = createQueue(storeOf(new Map(), () => true), 'k', 100);
    expect(queue.push('x')).toBe(true);
    expect(textsOf(queue)).toEqual(['x']);
  });

  test('a lease of a clock that was far ahead is not believed', async () => {
    const disk = new Map<string, string>();
    vi.setSystemTime(new Date('2036-01-01'));
    const tab = mortal(disk);
    createQueue(tab.store, 'k', 100).push('x');
    tab.awake = false;
    vi.setSystemTime(new Date('2026-01-01'));
    const queue = createQueue(storeOf(disk), 'k', 100);
    await adopt(queue);
    expect(textsOf(queue)).toEqual(['x']);
  });

  test('events that two tabs queued in the same moment do not take each other\'s place', async () => {
    const disk = new Map<string, string>();
    const [a, b] = [createQueue(storeOf(disk), 'k', 100), createQueue(storeOf(disk), 'k', 100)];
    for (const text of ['a1', 'a2']) a.push(text);
    for (const text of ['b1', 'b2', 'b3']) b.push(text);
    a.leave(true);
    await adopt(b);
    b.push('b4');
    expect(textsOf(b).sort()).toEqual(['a1', 'a2', 'b1', 'b2', 'b3', 'b4']);
    const after = textsOf(b).filter((text) => text.startsWith('b'));
    expect(after).toEqual(['b1', 'b2', 'b3', 'b4']);
  });

  test('whatever tabs do and whenever they die, no event is lost and none is at two tabs', async () => {
    const act = fc.record({ tab: fc.nat(2), act: fc.constantFrom('push', 'push', 'ack', 'leave', 'crash', 'adopt', 'wait'), full: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        const disk = new Map<string, string>();
        let full = false;
        const open = () => {
          const tab = mortal(disk, () => full);
          return { tab, queue: createQueue(tab.store, 'k', 1_000) };
        };
        const tabs = [open(), open(), open()];
        const pushed = new Set<string>();
        const acknowledged: string[] = [];
        const unkept = new Set<string>(); // in memory only: a crash may lose them
        let count = 0;
        for (const { tab, act, full: now } of acts) {
          full = now;
          const { queue, tab: life } = tabs[tab];
          if (act === 'push') {
            const text = `${count++}`;
            queue.push(text);
            pushed.add(text);
            if (full) unkept.add(text);
          } else if (act === 'ack') {
            const batch = queue.take(2, 1e9);
            acknowledged.push(...batch.map((entry) => entry.text));
            queue.done(batch);
          } else if (act === 'wait') await vi.advanceTimersByTimeAsync(40_000);
          else if (act === 'adopt') {
            full = false;
            await adopt(queue);
          } else {
            if (act === 'leave') queue.leave(true);
            life.awake = false;
            tabs[tab] = open();
          }
        }
        full = false;
        for (const { tab } of tabs) tab.awake = false;
        await vi.advanceTimersByTimeAsync(40_000);
        const { queue: last } = open();
        await adopt(last);
        const left = textsOf(last);
        expect(new Set(acknowledged).size).toBe(acknowledged.length);
        expect(left.filter((text) => acknowledged.includes(text))).toEqual([]);
        for (const text of pushed) if (!unkept.has(text)) expect([...acknowledged, ...left]).toContain(text);
      }),
      { numRuns: 100 },
    );
  });
});
