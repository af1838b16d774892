import type { Store } from './store.js';

/** The keys of what is remembered of a visitor. Those with a dot stay out of cookies, which travel with every request. */
export const anonymousIdKey = 'tg_aid';
export const userIdKey = 'tg_uid';
export const groupIdKey = 'tg_gid';
export const sessionKey = 'tg_session';
export const consentKey = 'tg_consent';
export const traitsKey = 'tg.traits';
export const groupTraitsKey = 'tg.gtraits';
export const firstKey = 'tg.first';

/** All that is remembered of a visitor but the decision. */
export const personalKeys = [anonymousIdKey, userIdKey, groupIdKey, sessionKey, traitsKey, groupTraitsKey, firstKey];

/**
 * Where the identity is kept: in memory always, and in the persistent stores once
 * that is allowed. What a persistent store says wins over memory, because another
 * tab may have written it.
 */
export interface Vault {
  get(key: string): string | null;
  /** An empty value removes the key. */
  set(key: string, value: string | null | undefined): void;
  /** true: what is in memory is written down. false: what was written down is erased; memory goes on. */
  persist(allowed: boolean): void;
}

export function createVault(cookies: Store | undefined, local: Store | undefined): Vault {
  const memory = new Map<string, string>();
  let allowed = false;
  const layers = (key: string): (Store | undefined)[] => [
    ...(allowed || key === consentKey ? [key.includes('.') ? undefined : cookies, local] : []), // the decision itself outlives a denial
    memory,
  ];
  const get = (key: string) => layers(key).map((layer) => layer?.get(key)).find(Boolean) ?? null;
  const set = (key: string, value: string | null | undefined) => {
    for (const layer of layers(key)) {
      if (value) layer?.set(key, value);
      else layer?.delete(key);
    }
  };
  return {
    get,
    set,
    persist(now) {
      allowed = now;
      // What was kept before stands over an identity from before the decision.
      for (const key of personalKeys) {
        if (now) set(key, get(key));
        else [cookies, local].forEach((layer) => layer?.delete(key));
      }
    },
  };
}
