import type { Properties } from '../message.js';
import { localStore, readCookie } from './store.js';
import { parse, parseObject, unique } from './text.js';
import { anonymousIdKey, groupIdKey, groupTraitsKey, traitsKey, userIdKey, type Vault } from './vault.js';

/** Who the visitor is, as far as is known. */
export interface User {
  /** Set by identify(), null before. */
  id(): string | null;
  anonymousId(): string;
  traits(): Properties;
}

/** The group that the visitor belongs to. */
export interface Group {
  id(): string | null;
  traits(): Properties;
}

/** One of them with the way to change. */
type Becoming<Who> = Who & {
  /** Merges the traits; another id than before begins with none. Whether it is another. */
  become(id: string | undefined, traits: Properties): boolean;
};

export interface Identity {
  user: Becoming<User>;
  group: Becoming<Group>;
  setAnonymousId(id?: string): string;
  /** Takes over what Segment's and RudderStack's SDKs left behind, so that nobody is new again. */
  takeOver(): void;
}

export function createIdentity(vault: Vault): Identity {
  const setAnonymousId = (id = unique()) => {
    vault.set(anonymousIdKey, id);
    return id;
  };
  const named = (idKey: string, traitsKey: string) => {
    const id = () => vault.get(idKey);
    const traits = () => parseObject(vault.get(traitsKey)) ?? {};
    return {
      id,
      traits,
      become(next: string | undefined, more: Properties) {
        const other = !!next && !!id() && next !== id();
        vault.set(traitsKey, JSON.stringify({ ...(!other && traits()), ...more }));
        if (next) vault.set(idKey, next);
        return other;
      },
    };
  };
  const who = named(userIdKey, traitsKey);
  return {
    user: {
      ...who,
      anonymousId: () => vault.get(anonymousIdKey) ?? setAnonymousId(),
      become(id, traits) {
        const other = who.become(id, traits);
        if (other) setAnonymousId();
        return other;
      },
    },
    group: named(groupIdKey, groupTraitsKey),
    setAnonymousId,
    takeOver() {
      const take = (key: string, segment: string, rudderStack = segment) =>
        vault.set(key, legacy('ajs_' + segment) || legacy('rl_' + rudderStack) || vault.get(key));
      take(anonymousIdKey, 'anonymous_id');
      if (vault.get(userIdKey)) return; // identified since: what others remember is of another time
      take(userIdKey, 'user_id');
      take(groupIdKey, 'group_id');
      take(traitsKey, 'user_traits', 'trait');
      take(groupTraitsKey, 'group_properties', 'group_trait');
    },
  };
}

/**
 * What another SDK kept under the key, in cookies or localStorage: an id, or traits as
 * JSON. RudderStack's form, `RS_ENC_v3_` before base64 of JSON, is understood; its
 * older AES form is not.
 */
function legacy(key: string): string | undefined {
  for (const get of [readCookie, localStore()?.get]) {
    try {
      let text = get?.(key) ?? '';
      const [, coded] = text.split('RS_ENC_v3_');
      if (coded) text = new TextDecoder().decode(Uint8Array.from(atob(coded), (char) => char.charCodeAt(0)));
      const value = parse(text); // an id of digits only stays text: as a number it could lose its last digits
      if (typeof value === 'string') text = value;
      if (text && !/^(null|{}|RudderEncrypt.*)$/.test(text)) return text;
    } catch {
      // Denied, or no base64: nothing was left there.
    }
  }
  return undefined;
}
