/** A place for small texts; a Map is one. What `set` returns is false when the text was not kept. */
export interface Store {
  get(key: string): string | null | undefined;
  set(key: string, value: string): unknown;
  delete(key: string): unknown;
}

/** A store that can tell its keys. */
export interface ListedStore extends Store {
  keys(): string[];
}

/** How cookies are written. */
export interface CookieSettings {
  /** The domain that shares the identity. Found by itself: the widest that the browser allows. */
  domain?: string;
  /** Days until an identity is forgotten, counted from the last write. 365 */
  expires?: number;
  sameSite?: 'Lax' | 'Strict' | 'None';
  /** Only over https. By itself: whether the page is. */
  secure?: boolean;
}

/** localStorage, or undefined where it is denied or missing. A full one is given: it can be read and emptied. */
export function localStore(): ListedStore | undefined {
  try {
    const storage = localStorage;
    storage.getItem('');
    return {
      get: (key) => storage.getItem(key),
      set(key, value) {
        try {
          storage.setItem(key, value);
          return true;
        } catch {
          storage.removeItem(key); // full: no old value may stand for the new one
          return false;
        }
      },
      delete: (key) => storage.removeItem(key),
      keys: () => Object.keys(storage),
    };
  } catch {
    return undefined;
  }
}

/** The value of a cookie, decoded. */
export function readCookie(key: string): string | null {
  const raw = document.cookie.split('; ').find((part) => part.startsWith(key + '='))?.slice(key.length + 1);
  try {
    return decodeURIComponent(raw ?? '') || null;
  } catch {
    return raw ?? null; // another program's, not encoded
  }
}

/** Cookies, or undefined where they are denied or missing. */
export function cookieStore(settings: CookieSettings = {}): Store | undefined {
  let { domain } = settings;
  const set = (key: string, value: string, days = settings.expires ?? 365) => {
    document.cookie =
      `${key}=${encodeURIComponent(value)};path=/;max-age=${days * 86_400};samesite=${settings.sameSite ?? 'Lax'}` +
      (domain ? `;domain=${domain}` : '') +
      ((settings.secure ?? location.protocol === 'https:') ? ';secure' : '');
    return readCookie(key) === value;
  };
  const works = () => {
    const kept = set('tg_probe', '1');
    set('tg_probe', '', 0);
    return kept;
  };
  try {
    // From the end of the host name: browsers refuse cookies for public suffixes, and for parts of an address.
    const labels = location.hostname.split('.');
    for (let i = labels.length - 2; !settings.domain && i >= 0 && !(domain && works()); i--) domain = labels.slice(i).join('.');
    if (!works()) domain = settings.domain;
    return works() ? { get: readCookie, set, delete: (key) => set(key, '', 0) } : undefined;
  } catch {
    return undefined; // a sandboxed frame
  }
}
