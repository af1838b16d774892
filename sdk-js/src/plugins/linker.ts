import type { Analytics } from '../analytics.js';
import type { Plugin } from '../plugin.js';

/** Which sites share a visitor. */
export interface LinkerSettings {
  /** Host names; their subdomains are meant, too. */
  domains: string[];
  /** How long a decorated link is good, in seconds: it may have been copied and sent to someone else. 120 */
  goodFor?: number;
}

const parameter = '_tg';

/**
 * Carries the anonymous id to other domains of yours in the links to them, and takes
 * it over there. Both sites need it. The parameter is taken out of the address bar.
 */
export function linker({ domains, goodFor = 120 }: LinkerSettings): Plugin {
  let end: (() => void) | undefined;
  const ours = (host: string) => domains.some((domain) => host === domain || host.endsWith('.' + domain));
  return {
    name: 'Tidegate linker',
    type: 'utility',
    load(_context, analytics: Analytics) {
      if (typeof document === 'undefined') return;
      const here = new URL(location.href);
      const [id, at] = read(here.searchParams.get(parameter));
      if (here.searchParams.has(parameter)) {
        here.searchParams.delete(parameter);
        history.replaceState(history.state, '', here);
      }
      // Only from a site of ours, and not over a visitor who is known here.
      const from = document.referrer && new URL(document.referrer).hostname;
      if (id && Math.abs(Date.now() / 1_000 - at) < goodFor && from && ours(from) && !analytics.user().id()) analytics.setAnonymousId(id);

      const decorate = (event: Event) => {
        const link = event.target instanceof Element ? event.target.closest('a') : null;
        if (!link?.href || link.hostname === location.hostname || !ours(link.hostname) || analytics.consent() === false) return;
        const to = new URL(link.href);
        to.searchParams.set(parameter, `${Math.round(Date.now() / 1_000)}.${analytics.user().anonymousId()}`);
        link.href = to.href;
      };
      document.addEventListener('mousedown', decorate, true);
      document.addEventListener('click', decorate, true);
      end = () => {
        document.removeEventListener('mousedown', decorate, true);
        document.removeEventListener('click', decorate, true);
      };
    },
    unload: () => end?.(),
  };
}

function read(value: string | null): [id: string | undefined, at: number] {
  const [, at, id] = /^(\d{1,12})\.([\w.-]{1,80})$/.exec(value ?? '') ?? [];
  return [id, Number(at)];
}
