import type { Analytics } from '../analytics.js';
import type { Properties } from '../message.js';
import type { Plugin } from '../plugin.js';

/** What is captured; all of it unless it is set to false. */
export interface AutocaptureSettings {
  /** The first page view and those of a single-page app. */
  pages?: boolean;
  /** Clicks on links, buttons and what has `data-tidegate-event`. */
  clicks?: boolean;
  /** Submitted forms; never what was typed into them. */
  forms?: boolean;
}

const captured = 'a[href],button,summary,input[type=submit],input[type=button],[role=button],[data-tidegate-event]';

/**
 * Tracks page views, clicks and forms without code.
 *
 * `data-tidegate-event="Signed Up"` on an element gives its click or submit a name,
 * `data-tidegate-plan="pro"` a property, and `data-tidegate-ignore` keeps everything
 * inside it out. Texts of inputs are never read; the text of a button or link is.
 */
export function autocapture(settings: AutocaptureSettings = {}): Plugin {
  const ends: (() => void)[] = [];
  const listen = (target: EventTarget, name: string, listener: (event: Event) => void) => {
    target.addEventListener(name, listener, true);
    ends.push(() => target.removeEventListener(name, listener, true));
  };
  return {
    name: 'Tidegate autocapture',
    type: 'utility',
    load(_context, analytics: Analytics) {
      if (typeof document === 'undefined') return;
      const report = (element: Element | null, usual: string, facts: Properties) => {
        if (!element || element.closest('[data-tidegate-ignore]')) return;
        const { event = usual, ...own } = attributesOf(element);
        void analytics.track(event, { ...facts, ...own });
      };
      if (settings.clicks !== false) {
        listen(document, 'click', (event) => {
          const element = event.target instanceof Element ? event.target.closest(captured) : null;
          if (element instanceof HTMLFormElement) return; // its submit says it
          if (element) report(element, 'Element Clicked', factsOf(element));
        });
      }
      if (settings.forms !== false) {
        listen(document, 'submit', (event) => {
          const form = event.target;
          if (form instanceof HTMLFormElement) report(form, 'Form Submitted', { element: 'form', id: form.id || undefined, name: form.getAttribute('name') ?? undefined, action: pathOf(form.action) });
        });
      }
      if (settings.pages !== false) watchPages(analytics, listen, ends);
    },
    unload() {
      for (const end of ends.splice(0)) end();
    },
  };
}

/** Sees the pages of a single-page app by its use of the history. */
function watchPages(analytics: Analytics, listen: (target: EventTarget, name: string, listener: () => void) => void, ends: (() => void)[]): void {
  let seen = '';
  let previous = document.referrer;
  const look = () => {
    const url = location.href.split('#')[0] as string;
    if (url === seen) return;
    void analytics.page(seen ? { referrer: previous } : {});
    previous = url;
    seen = url;
  };
  for (const method of ['pushState', 'replaceState'] as const) {
    const original = history[method];
    const watched: History['pushState'] = function (this: History, ...args) {
      original.apply(this, args);
      setTimeout(look); // after the app has set the new title
    };
    history[method] = watched;
    ends.push(() => {
      if (history[method] === watched) history[method] = original;
    });
  }
  listen(window, 'popstate', () => setTimeout(look));
  look();
}

/** `data-tidegate-*` of the element, without the prefix. */
function attributesOf(element: Element): { event?: string } & Record<string, string> {
  const own: Record<string, string> = {};
  for (const { name, value } of Array.from(element.attributes)) {
    const [, key] = /^data-tidegate-(.+)$/.exec(name) ?? [];
    if (key && key !== 'ignore') own[key.replace(/-/g, '_')] = value;
  }
  return own;
}

function factsOf(element: Element): Properties {
  const link = element.closest('a');
  return {
    element: element.tagName.toLowerCase(),
    id: element.id || undefined,
    name: element.getAttribute('name') ?? undefined,
    text: element instanceof HTMLInputElement ? undefined : element.textContent.trim().replace(/\s+/g, ' ').slice(0, 100) || undefined,
    href: link ? pathOf(link.href) : undefined,
  };
}

/** The address without its query, which may hold what is nobody's business. */
function pathOf(href: string): string | undefined {
  return href.split(/[?#]/)[0] || undefined;
}
