import type { ConsentSettings } from './core/consent.js';
import type { CookieSettings } from './core/store.js';
import type { Integrations } from './message.js';
import type { Plugin } from './plugin.js';

/** What both the browser's and the server's SDK are set with. Times are in milliseconds. */
export interface SharedSettings {
  /** The write key of the source; it is public. */
  writeKey: string;
  /** Where Tidegate takes events: `https://events.example.com`. */
  host: string;
  /** The path of batches on the host. `/v1/batch` */
  path?: string;
  /** That many events leave at once. 20 */
  flushAt?: number;
  /** How long an event waits for others. 1,000 */
  flushInterval?: number;
  /** How old an event may grow without an acknowledgement before it is given up. 7 days */
  maxAge?: number;
  /** How many events may wait; more are refused. 1,000 in browsers, 10,000 on servers */
  maxQueueSize?: number;
  /** How long a request may take. 15,000 */
  timeout?: number;
  /** The longest pause between attempts. 5 minutes in browsers, 1 minute on servers */
  maxBackoff?: number;
  /** Context for every event. */
  context?: Record<string, unknown>;
  /** Integrations for every event. */
  integrations?: Integrations;
  plugins?: Plugin[];
  /** Sends `context.ip` as 0.0.0.0. */
  anonymizeIP?: boolean;
  /** In place of the runtime's own. */
  fetch?: typeof fetch;
  /** Tells the console what happens. */
  debug?: boolean;
}

/** The settings of load(). */
export interface Settings extends SharedSettings {
  /** Where the identity is kept: cookies and localStorage, one of them, or only in memory. `all` */
  storage?: 'all' | 'cookie' | 'localStorage' | 'memory';
  cookie?: CookieSettings;
  /** How long a visit goes on without events; false for no sessions. 30 minutes */
  sessionTimeout?: number | false;
  consent?: ConsentSettings;
  /** Collects nothing from browsers that send Do Not Track. */
  respectDoNotTrack?: boolean;
  /** Collects nothing from browsers that send Global Privacy Control. */
  respectGlobalPrivacyControl?: boolean;
  /** false: does not look for the identity of Segment's and RudderStack's SDKs. */
  migrate?: boolean;
}
