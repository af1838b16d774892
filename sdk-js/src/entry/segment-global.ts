/**
 * The IIFE build that takes the place of Segment's analytics.min.js: a page with
 * Segment's snippet works when only the address of the script is changed. The queue of
 * `window.analytics` is taken over, with the page that the snippet saw at each call.
 *
 * The address says the rest: `{host}/analytics.js/v1/{writeKey}/analytics.min.js`. A
 * snippet may say it otherwise: `analytics._writeKey`, `analytics._cdn`.
 */
import type { Analytics } from '../analytics.js';
import { load } from '../core/browser.js';
import { originOf, pageOf } from '../core/page.js';
import { takeApart } from '../core/arguments.js';
import { queryString } from '../plugins/query-string.js';
import type { Settings } from '../settings.js';

/** What Segment's snippet notes of the page, as the last argument of a call. */
interface Noted {
  __t: 'bpc';
  c?: string;
  p: string;
  u: string;
  s: string;
  t: string;
  r: string;
}

interface Snippet extends Array<unknown[]> {
  _writeKey?: string;
  _cdn?: string;
  _loadOptions?: Record<string, unknown>;
  initialized?: boolean;
}

/** How many names or ids stand before the data of a call. */
const names: Record<string, number> = { track: 1, identify: 1, group: 1, page: 2, screen: 2, alias: 2 };

const page = window as unknown as Record<string, unknown>;
const script = document.currentScript as HTMLScriptElement | null;
const globalName = script?.getAttribute('data-global-segment-analytics-key') ?? 'analytics';
const snippet = (page[globalName] ?? []) as Snippet;
const [, base, keyInAddress] = /^(https?:\/\/.*)\/analytics\.js\/v1\/([^/]+)\//.exec(script?.src ?? '') ?? [];

const writeKey = snippet._writeKey ?? keyInAddress;
const host = snippet._cdn ?? base;
if (writeKey && host && !snippet.initialized) takeOver(writeKey, host);

function takeOver(writeKey: string, host: string): void {
  const options = snippet._loadOptions ?? {};
  const calls = Array.isArray(snippet) ? [...snippet] : [];
  const analytics = load({ ...(options as Partial<Settings>), writeKey, host, plugins: [queryString()] });
  page[globalName] = Object.assign(analytics, {
    ...{ initialized: true, invoked: true, _writeKey: writeKey, _cdn: host },
    // What else the snippet promises.
    load: () => analytics,
    timeout: () => analytics,
    pageview: (path?: string) => analytics.page(path ? { path } : {}),
    addIntegrationMiddleware: analytics.addDestinationMiddleware,
  });
  // What sets who the visitor is comes first, as with Segment's.
  const first = ['setAnonymousId', 'addSourceMiddleware', 'addDestinationMiddleware', 'register'];
  calls.sort((a, b) => Number(first.includes(b[0] as string)) - Number(first.includes(a[0] as string)));
  for (const [method, ...args] of calls) replay(analytics, method as string, args);
}

function replay(analytics: Analytics, method: string, args: unknown[]): void {
  const call = (analytics as unknown as Record<string, ((...args: unknown[]) => unknown) | undefined>)[method];
  const noted = args[args.length - 1] as Noted | undefined;
  if (noted?.__t !== 'bpc') return void call?.(...args);
  const rest = args.slice(0, -1);
  const most = names[method];
  if (most === undefined) return void call?.(...rest);
  const { ids, data, options, callback } = takeApart(rest, most);
  const seen = pageOf(noted.u, noted.r, noted.t, noted.c);
  const context = { page: seen, ...originOf(seen.search), ...options.context };
  void call?.(...ids, data, { ...options, context }, callback);
}
