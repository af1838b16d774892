import type { Store } from './store.js';
import { unique } from './text.js';

/**
 * Says which tab serves which part of the persisted queue: its own, unless it died. A lease is a stamp in the
 * store, `<holder> <end>`, written, and read again after a moment, since two tabs may
 * reach for it at once; the holder renews it. The stamp of a tab that died runs out.
 *
 * Works without https, where there are no Web Locks, and leaves the page fit for the
 * browser's back-forward cache, which a lock would not. Should two tabs ever believe
 * themselves the holder, the server knows the repeats by their messageIds: a race may
 * cost bytes and never an event.
 */
export interface Leases {
  /** Takes the lease of a name unless another tab holds it. */
  take(name: string): Promise<boolean>;
  /** Renews the lease of a name, or says that another tab took it while this one slept. */
  renew(name: string): boolean;
  /** Gives a lease up, at once. */
  release(name: string): void;
}

const term = 30_000;
const settling = 150;

export function createLeases(prefix: string, store: Store): Leases {
  const me = unique();
  const holder = (name: string) => {
    const [who, end] = (store.get(prefix + name) ?? '').split(' ');
    const left = Number(end) - Date.now();
    return left > 0 && left <= term ? who : undefined; // an end too far away is of a clock that was set back
  };
  const leases: Leases = {
    async take(name) {
      if (!leases.renew(name)) return false;
      await new Promise((resolve) => setTimeout(resolve, settling));
      return holder(name) === me;
    },
    renew(name) {
      const free = [me, undefined].includes(holder(name));
      if (free) store.set(prefix + name, `${me} ${Date.now() + term}`);
      return free;
    },
    release(name) {
      if (holder(name) === me) store.delete(prefix + name);
    },
  };
  return leases;
}

/** How often a lease is to be renewed. */
export const renewal = term / 3;
