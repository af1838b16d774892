import { vi } from 'vitest';

/** A page as far as the SDK sees one: cookies with domains and public suffixes, a localStorage that can be full or denied. */
export interface FakePage {
  cookies: Map<string, { value: string; domain: string }>;
  storage: Map<string, string>;
  listeners: Map<string, ((event: object) => void)[]>;
  fire(name: string, event?: object): void;
  hide(hidden: boolean): void;
  go(href: string): void;
}

export interface FakePageSettings {
  href?: string;
  referrer?: string;
  canonical?: string;
  storage?: Map<string, string> | 'denied';
  cookies?: Map<string, { value: string; domain: string }> | 'denied';
  /** Bytes of localStorage. */
  quota?: number;
  navigator?: object;
}

const suffixes = ['com', 'uk', 'co.uk', 'io', 'github.io', 'localhost'];

export function openPage(settings: FakePageSettings = {}): FakePage {
  const storage = settings.storage instanceof Map ? settings.storage : new Map<string, string>();
  const cookies = settings.cookies instanceof Map ? settings.cookies : new Map<string, { value: string; domain: string }>();
  const listeners = new Map<string, ((event: object) => void)[]>();
  const listen = (name: string, listener: (event: object) => void) => listeners.set(name, [...(listeners.get(name) ?? []), listener]);
  let at = new URL(settings.href ?? 'https://shop.example.com/');
  const document = {
    hidden: false,
    title: 'A title',
    referrer: settings.referrer ?? '',
    addEventListener: listen,
    querySelector: () => (settings.canonical ? { href: settings.canonical } : null),
    get cookie() {
      if (settings.cookies === 'denied') throw new DOMException('denied', 'SecurityError');
      return [...cookies].filter(([, { domain }]) => at.hostname === domain || at.hostname.endsWith('.' + domain)).map(([key, { value }]) => `${key}=${value}`).join('; ');
    },
    set cookie(text: string) {
      if (settings.cookies === 'denied') throw new DOMException('denied', 'SecurityError');
      const [pair, ...attributes] = text.split(';').map((part) => part.trim());
      const split = pair.indexOf('=');
      const attribute = (name: string) => attributes.find((each) => each.startsWith(name + '='))?.slice(name.length + 1);
      const domain = attribute('domain') ?? at.hostname;
      if (attribute('domain') && (suffixes.includes(domain) || /^[\d.]+$/.test(at.hostname) || !('.' + at.hostname).endsWith('.' + domain))) return;
      if (attribute('max-age') === '0') cookies.delete(pair.slice(0, split));
      else cookies.set(pair.slice(0, split), { value: pair.slice(split + 1), domain });
    },
  };
  const used = () => [...storage].reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  const localStorage = new Proxy({} as Storage, {
    get: (_, name) => {
      if (name === 'getItem') return (key: string) => storage.get(key) ?? null;
      if (name === 'removeItem') return (key: string) => void storage.delete(key);
      if (name !== 'setItem') return storage.get(name as string);
      return (key: string, value: string) => {
        if (used() + key.length + value.length > (settings.quota ?? Infinity)) throw new DOMException('full', 'QuotaExceededError');
        storage.set(key, value);
      };
    },
    ownKeys: () => [...storage.keys()],
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
  });
  vi.stubGlobal('document', document);
  vi.stubGlobal('navigator', { userAgent: 'test', language: 'en-GB', ...settings.navigator });
  vi.stubGlobal('screen', { width: 100, height: 200 });
  vi.stubGlobal('addEventListener', listen);
  vi.stubGlobal('Element', class {});
  vi.stubGlobal('HTMLFormElement', class {});
  Object.defineProperty(globalThis, 'location', { configurable: true, get: () => at });
  if (settings.storage === 'denied') {
    Object.defineProperty(globalThis, 'localStorage', {
      configurable: true,
      get() {
        throw new DOMException('denied', 'SecurityError');
      },
    });
  } else Object.defineProperty(globalThis, 'localStorage', { configurable: true, value: localStorage });
  for (const name of ['devicePixelRatio', 'innerWidth', 'innerHeight']) vi.stubGlobal(name, 1);
  return {
    cookies,
    storage,
    listeners,
    fire: (name, event = {}) => (listeners.get(name) ?? []).forEach((listener) => listener(event)),
    hide(hidden) {
      document.hidden = hidden;
      this.fire('visibilitychange');
    },
    go: (href) => (at = new URL(href, at)),
  };
}
