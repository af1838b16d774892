/** For code that imports from `@segment/analytics-next`: the same names, other address. */
import type { Analytics } from './analytics.js';
import { load } from './core/browser.js';
import type { AnyEvents, EventMap, Integrations } from './message.js';
import type { Plugin } from './plugin.js';
import type { Settings } from './settings.js';

export type { Analytics } from './analytics.js';
export type { Context, Plugin } from './plugin.js';

/** Segment's settings: the CDN's address is Tidegate's. */
export interface AnalyticsBrowserSettings {
  writeKey: string;
  cdnURL: string;
  plugins?: Plugin[];
}

/** Segment's options of load(), and all settings of this SDK. */
export interface InitOptions extends Partial<Omit<Settings, 'writeKey' | 'host'>> {
  integrations?: Integrations;
}

/** `AnalyticsBrowser.load({ writeKey, cdnURL })`. */
export const AnalyticsBrowser = {
  load<Events extends EventMap = AnyEvents>({ writeKey, cdnURL, plugins }: AnalyticsBrowserSettings, options: InitOptions = {}): Analytics<Events> {
    return load<Events>({ ...options, writeKey, host: cdnURL, ...(plugins && { plugins }) });
  },
};
