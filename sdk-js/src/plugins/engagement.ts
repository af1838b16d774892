import type { Analytics } from '../analytics.js';
import type { Plugin } from '../plugin.js';

/** How engagement is measured. */
export interface EngagementSettings {
  /** Seconds without input after which nobody is taken to read. 30 */
  idleAfter?: number;
}

/**
 * Tracks `Page Engaged` whenever the page is hidden or another one of a single-page
 * app begins: the seconds in which it was visible and someone was there, the seconds
 * in which it was visible at all, and how far it was scrolled, in percent. Each event
 * counts from the one before it.
 */
export function engagement({ idleAfter = 30 }: EngagementSettings = {}): Plugin {
  const ends: (() => void)[] = [];
  return {
    name: 'Tidegate engagement',
    type: 'utility',
    load(_context, analytics: Analytics) {
      if (typeof document === 'undefined') return;
      let engaged = 0;
      let visible = 0;
      let depth = 0;
      let since = performance.now();
      let active = since;
      let url = location.href;
      const measure = () => {
        const now = performance.now();
        engaged += Math.max(0, Math.min(now, active + idleAfter * 1_000) - since);
        visible += now - since;
        since = now;
      };
      const act = () => {
        if (document.hidden) return;
        measure();
        active = since;
        if (document.readyState !== 'complete') return; // as long as it is short, all of it is seen
        const { scrollHeight } = document.documentElement;
        depth = Math.max(depth, Math.min(100, Math.round((100 * (scrollY + innerHeight)) / scrollHeight)));
      };
      const tell = () => {
        measure();
        if (visible < 1_000) return; // a glance
        const path = new URL(url).pathname;
        void analytics.track('Page Engaged', { path, engaged_seconds: Math.round(engaged / 1_000), visible_seconds: Math.round(visible / 1_000), scroll_depth: depth });
        engaged = visible = depth = 0;
        url = location.href;
      };
      const turn = () => {
        if (document.hidden) tell();
        else since = active = performance.now();
      };
      const listen = (target: EventTarget, name: string, listener: () => void) => {
        target.addEventListener(name, listener, { passive: true, capture: true });
        ends.push(() => target.removeEventListener(name, listener, true));
      };
      for (const name of ['scroll', 'pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'load']) listen(window, name, throttled(act));
      listen(document, 'visibilitychange', turn);
      const onPage = () => location.href !== url && tell();
      analytics.on('page', onPage);
      ends.push(() => analytics.off('page', onPage));
      act();
    },
    unload() {
      for (const end of ends.splice(0)) end();
    },
  };
}

/** At most four times a second: a moving pointer is told more often than it matters. */
function throttled(act: () => void): () => void {
  let last = -Infinity;
  return () => {
    const now = performance.now();
    if (now - last < 250) return;
    last = now;
    act();
  };
}
