import { createLeases, renewal } from './leases.js';
import type { ListedStore } from './store.js';
import { byteLength, unique } from './text.js';

/** One event that waits for its acknowledgement. */
export interface Entry {
  /** Where it is in the store: `tg_q.<queue>.<tab>.<serial>`. Empty while it is in memory only. */
  key: string;
  text: string;
  bytes: number;
  /** Microseconds at which it was queued, made unique within its tab. */
  serial: number;
  /** It is in a request that has no answer yet. */
  busy?: boolean;
}

/**
 * The events that were accepted and not yet acknowledged, oldest first.
 *
 *   push ──► waiting ──take──► busy ──done──► gone
 *               ▲                │
 *               └─────back───────┘
 *
 * Each event is one key of the store, written before push returns, so that a crash
 * loses nothing. Every tab writes under its own name and holds the lease of it;
 * adopt() moves what a dead tab left under the own name: written there before it is
 * removed here, so that at no moment an event is in no place. What the store does not
 * take waits in memory.
 */
export interface Queue {
  /** false: the queue is full and the event was not taken. */
  push(text: string): boolean;
  /** The oldest waiting events within the limits, at least one if any waits; they become busy. */
  take(events: number, bytes: number): Entry[];
  done(entries: Entry[]): void;
  back(entries: Entry[]): void;
  size(): number;
  /** Takes over what dead tabs left. Resolves to false while another tab may be alive and has events of its own. */
  adopt(): Promise<boolean>;
  /** The page goes away (or is back): gives the lease up and takes none, so that the next page may serve the events. */
  leave(gone: boolean): void;
  clear(): void;
}

export function createQueue(store: ListedStore, name: string, limit: number): Queue {
  const leases = createLeases(`tg_l.${name}.`, store);
  const prefix = `tg_q.${name}.`;
  let tab = unique();
  let last = 0;
  let entries: Entry[] = [];
  let timer: ReturnType<typeof setInterval> | undefined;
  let left = false;

  const stored = () => store.keys().filter((key) => key.startsWith(prefix));
  const remove = (key: string) => store.delete(key);

  /** When another tab took the lease while this one slept, the stored events are that one's. */
  const renew = () => {
    if (left || leases.renew(tab)) return;
    entries = entries.filter((entry) => !entry.key);
    tab = unique();
  };
  const release = () => {
    clearInterval(timer);
    timer = undefined;
    leases.release(tab);
  };
  const add = (text: string, serial: number) => {
    if (!timer) {
      renew();
      timer = setInterval(renew, renewal);
    }
    let key;
    while (store.get((key = `${prefix}${tab}.${serial}`))) serial++; // two tabs may have pushed at once
    entries.push({ key: store.set(key, text) ? key : '', text, bytes: byteLength(text), serial });
  };
  const done = (gone: Entry[]) => {
    for (const { key } of gone) remove(key);
    entries = entries.filter((entry) => !gone.includes(entry));
    if (!entries.length) release();
  };

  return {
    push(text) {
      if (entries.length >= limit) return false;
      last = Math.max(last + 1, Date.now() * 1000);
      add(text, last);
      return true;
    },
    take(events, bytes) {
      if (entries.length) renew();
      // What is not in the store any more was served by another tab while this one slept.
      entries = entries.filter((entry) => entry.busy || !entry.key || store.get(entry.key));
      const batch: Entry[] = [];
      for (const entry of entries) {
        if (entry.busy) continue;
        bytes -= entry.bytes + 1;
        if (batch.length >= events || (batch.length && bytes < 0)) break;
        entry.busy = true;
        batch.push(entry);
      }
      return batch;
    },
    done,
    back: (waiting) => waiting.forEach((entry) => (entry.busy = false)),
    size: () => entries.length,
    async adopt() {
      let all = true;
      const ownerOf = (key: string) => key.slice(prefix.length).split('.')[0] as string;
      for (const owner of new Set(stored().map(ownerOf))) {
        if (owner === tab) continue;
        if (!(await leases.take(owner))) {
          all = false;
          continue;
        }
        for (const key of stored()) {
          const text = ownerOf(key) === owner && store.get(key);
          if (!text) continue;
          add(text, Number(key.split('.').pop()));
          if (entries[entries.length - 1]?.key) remove(key);
        }
        leases.release(owner);
      }
      entries.sort((a, b) => a.serial - b.serial);
      return all;
    },
    leave(gone) {
      left = gone;
      release();
    },
    clear() {
      stored().forEach(remove);
      done(entries);
    },
  };
}
