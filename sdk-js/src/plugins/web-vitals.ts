import type { Analytics } from '../analytics.js';
import type { Plugin } from '../plugin.js';

type Entry = PerformanceEntry & { hadRecentInput?: boolean; value?: number; interactionId?: number; responseStart?: number };

/**
 * Tracks `Web Vitals` once per page view, when the page is hidden: ttfb, fcp, lcp and
 * inp in milliseconds, cls as a number. A metric that the browser does not measure is
 * left out. cls is the largest burst of layout shifts (at most 5 s, gaps under 1 s);
 * inp is the longest interaction, on pages with many of them the one that all but one
 * in fifty stay under.
 */
export function webVitals(): Plugin {
  const observers: PerformanceObserver[] = [];
  let end: (() => void) | undefined;
  return {
    name: 'Tidegate web vitals',
    type: 'utility',
    load(_context, analytics: Analytics) {
      if (typeof PerformanceObserver === 'undefined' || typeof document === 'undefined') return;
      const vitals: { fcp?: number; lcp?: number; cls?: number; inp?: number } = {};
      const interactions = new Map<number, number>();
      let burst = { value: 0, first: 0, last: 0 };
      const observe = (type: string, see: (entry: Entry) => void, options: object = {}) => {
        if (!PerformanceObserver.supportedEntryTypes.includes(type)) return;
        const observer = new PerformanceObserver((list) => list.getEntries().forEach(see));
        observer.observe({ type, buffered: true, ...options });
        observers.push(observer);
      };
      observe('paint', (entry) => {
        if (entry.name === 'first-contentful-paint') vitals.fcp = entry.startTime;
      });
      observe('largest-contentful-paint', (entry) => (vitals.lcp = entry.startTime));
      observe('layout-shift', (entry) => {
        vitals.cls ??= 0;
        if (entry.hadRecentInput) return;
        const { startTime, value = 0 } = entry;
        const goesOn = startTime - burst.last < 1_000 && startTime - burst.first < 5_000;
        burst = goesOn ? { ...burst, value: burst.value + value, last: startTime } : { value, first: startTime, last: startTime };
        vitals.cls = Math.max(vitals.cls, burst.value);
      });
      observe(
        'event',
        ({ interactionId, duration }) => {
          if (!interactionId) return;
          interactions.set(interactionId, Math.max(interactions.get(interactionId) ?? 0, duration));
          const longest = [...interactions].sort((a, b) => b[1] - a[1]);
          vitals.inp = longest[Math.min(longest.length - 1, Math.floor(interactions.size / 50))]?.[1] as number;
          for (const [id] of longest.slice(20)) if (interactions.size > 1_000) interactions.delete(id);
        },
        { durationThreshold: 16 },
      );
      let told = false;
      const tell = () => {
        if (told || !document.hidden) return;
        told = true;
        const navigation = performance.getEntriesByType('navigation')[0] as Entry | undefined;
        const rounded = Object.fromEntries(Object.entries(vitals).map(([key, value]) => [key, key === 'cls' ? Math.round(value * 1e4) / 1e4 : Math.round(value)]));
        void analytics.track('Web Vitals', { ...(navigation?.responseStart && { ttfb: Math.round(navigation.responseStart) }), ...rounded });
      };
      document.addEventListener('visibilitychange', tell);
      end = () => document.removeEventListener('visibilitychange', tell);
    },
    unload() {
      for (const observer of observers.splice(0)) observer.disconnect();
      end?.();
    },
  };
}
