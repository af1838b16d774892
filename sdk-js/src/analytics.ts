import type { Decision } from './core/consent.js';
import type { Listener } from './core/emitter.js';
import type { Group, User } from './core/identity.js';
import type { AnyEvents, EventMap, Options, Properties } from './message.js';
import type { Context, DestinationMiddleware, Plugin, SourceMiddleware } from './plugin.js';

/** Called when the event is queued; null when something on its way stopped it. */
export type Callback = (context: Context | null) => void;

/** Resolves when the event is queued: it is safe to leave the page. Null when something on its way stopped it. */
export type Queued = Promise<Context | null>;

/** One element or many. */
export type Elements = Element | ArrayLike<Element> | null;

/** A value, or what makes it from the element. */
export type OfElement<T> = T | ((element: Element) => T);

/** What the SDK tells those who listen with on(). */
export interface Happenings {
  track: (event: string, properties: Properties, options: Options) => void;
  identify: (userId: string | null, traits: Properties, options: Options) => void;
  page: (category: string | undefined, name: string | undefined, properties: Properties, options: Options) => void;
  screen: (category: string | undefined, name: string | undefined, properties: Properties, options: Options) => void;
  group: (groupId: string | null, traits: Properties, options: Options) => void;
  alias: (userId: string, previousId: string | undefined, options: Options) => void;
  reset: () => void;
  consent: (decision: Decision) => void;
  /** The server has the events on disk. */
  delivered: (events: unknown[]) => void;
  /** The server refused the event alone. */
  rejected: (event: unknown, reason: string) => void;
  /** The event was given up or not taken. */
  dropped: (event: unknown, reason: string) => void;
  /** Sending failed, with an HTTP status or 0, and is tried again after a pause in milliseconds. */
  retry: (status: number, pause: number) => void;
  /** A plugin or middleware failed. */
  error: (error: unknown, event: unknown) => void;
}

/** The calls of analytics.js. Type your events: `load<{'Order Completed': {total: number}}>(…)`. */
export interface Analytics<Events extends EventMap = AnyEvents> {
  readonly version: string;

  /** Something happened. */
  track<Name extends keyof Events & string>(
    event: Name,
    // eslint-disable-next-line @typescript-eslint/no-generated-empty-object-type -- what can be left out is what {} fits
    ...rest: Record<never, never> extends Events[Name]
      ? [properties?: Events[Name] | Callback | null | undefined, options?: Options | Callback, callback?: Callback]
      : [properties: Events[Name], options?: Options | Callback, callback?: Callback]
  ): Queued;

  /** Who the visitor is. The traits are merged into what is known and sent whole. */
  identify(userId: string | number | null, traits?: Properties | Callback, options?: Options | Callback, callback?: Callback): Queued;
  identify(traits: Properties, options?: Options | Callback, callback?: Callback): Queued;

  /** A page was seen: `page()`, `page(name)`, `page(category, name)`, each with properties. */
  page(...args: PageArguments): Queued;
  /** A screen of an app was seen. */
  screen(...args: PageArguments): Queued;

  /** The group that the visitor belongs to. */
  group(): Group;
  group(groupId: string | number, traits?: Properties | Callback, options?: Options | Callback, callback?: Callback): Queued;
  group(traits: Properties, options?: Options | Callback, callback?: Callback): Queued;

  /** Two ids of one person; `previousId` is the visitor's own when it is left out. */
  alias(userId: string | number, previousId?: string | number | Callback, options?: Options | Callback, callback?: Callback): Queued;

  user(): User;
  setAnonymousId(id: string): string;
  /** Forgets the visitor: after a logout. */
  reset(): Analytics<Events>;

  /** Tracks clicks on links. The page may be left: the event outlives it. */
  trackLink(links: Elements, event: OfElement<string>, properties?: OfElement<Properties>): Analytics<Events>;
  trackClick(links: Elements, event: OfElement<string>, properties?: OfElement<Properties>): Analytics<Events>;
  /** Tracks submitted forms. */
  trackForm(forms: Elements, event: OfElement<string>, properties?: OfElement<Properties>): Analytics<Events>;
  trackSubmit(forms: Elements, event: OfElement<string>, properties?: OfElement<Properties>): Analytics<Events>;

  /** Adds plugins; events wait until they are loaded. */
  register(...plugins: Plugin[]): Promise<unknown>;
  deregister(...names: string[]): Promise<unknown>;
  addSourceMiddleware(...middleware: SourceMiddleware[]): Analytics<Events>;
  /** For one destination plugin by name, several, or all with `*`. */
  addDestinationMiddleware(names: string | string[], ...middleware: DestinationMiddleware[]): Analytics<Events>;

  /** Called when every plugin is loaded; at once when that is so already. */
  ready(callback?: () => void): Promise<void>;
  on<Name extends keyof Happenings>(name: Name, listener: Happenings[Name]): Analytics<Events>;
  once<Name extends keyof Happenings>(name: Name, listener: Happenings[Name]): Analytics<Events>;
  off(name: keyof Happenings, listener?: Listener): Analytics<Events>;
  emit(name: string, ...args: unknown[]): Analytics<Events>;

  /** Without an argument: the decision, null before one. true and false decide for everything. */
  consent(): Decision | null;
  consent(decision: Decision): Analytics<Events>;

  /** Sends what waits, now: whether all of it was acknowledged. What was not is tried again later. */
  flush(): Promise<boolean>;
  /** Tells the console what happens. */
  debug(on?: boolean): Analytics<Events>;
}

/** Category and name, then properties, options and a callback; what is not there is left out. */
export type PageArguments =
  | [properties?: Properties | Callback, options?: Options | Callback, callback?: Callback]
  | [name: string, properties?: Properties | Callback, options?: Options | Callback, callback?: Callback]
  | [category: string | null | undefined, name: string | null, properties?: Properties | Callback, options?: Options | Callback, callback?: Callback];
