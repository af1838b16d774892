import type { load } from '../core/browser.js';
import type { Settings } from '../settings.js';

/** What the snippet leaves on the page: the settings, and the calls that were made before the SDK came. */
export interface Snippet<Told> {
  settings?: Told;
  q?: [method: string, ...args: unknown[]][];
}

/** Makes `window.tidegate` the SDK where the snippet was; in any case `offered` stands on it. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- says what the snippet may hold
export function start<Told>(create: (settings: Told) => ReturnType<typeof load>, offered: object): void {
  const page = window as { tidegate?: object };
  const { settings, q } = (page.tidegate ?? {}) as Snippet<Told>;
  const sdk = (page.tidegate = settings ? Object.assign(create(settings), offered) : offered) as Record<string, (...args: unknown[]) => void>;
  for (const [method, ...args] of q ?? []) sdk[method]?.(...args);
}

/** Settings as a snippet can say them: it has plugins by name only. */
export type NamedSettings = Omit<Settings, 'plugins'> & { plugins?: string[] };
