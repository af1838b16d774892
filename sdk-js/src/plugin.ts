import type { Integrations, Message, MessageType } from './message.js';

/** One event on its way through plugins and middleware. */
export interface Context {
  readonly id: string;
  event: Message;
  /** Sets a member by its path: `updateEvent('context.experiment', 'b')`. */
  updateEvent(path: string, value: unknown): Message;
  /** Ends the event's way; nothing is sent. */
  cancel(): never;
}

type Step = (context: Context) => Context | void | PromiseLike<Context | void>;

/**
 * Code that sees every event. `before` plugins may cancel it, `enrichment` plugins
 * change it, `destination` plugins send it elsewhere in the page, `after` plugins
 * learn that it was queued, `utility` plugins only want to be loaded.
 */
export interface Plugin extends Partial<Record<MessageType, Step>> {
  name: string;
  version?: string;
  type?: 'before' | 'enrichment' | 'destination' | 'after' | 'utility';
  /** Events wait until it is done. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- plugins of other SDKs bring their own type of instance
  load?(context: Context, analytics: any): void | PromiseLike<unknown>;
  isLoaded?(): boolean;
  unload?(): void | PromiseLike<unknown>;
}

/** Sees every event before the plugins. An event that is not given to `next` is dropped. */
export type SourceMiddleware = (middleware: {
  payload: { obj: Message };
  integrations: Integrations;
  next: (payload: { obj: Message } | null) => void;
}) => void | PromiseLike<unknown>;

/** Sees every event for one destination plugin, which gets what is given to `next`. */
export type DestinationMiddleware = (middleware: {
  payload: { obj: Message };
  integration: string;
  next: (payload: { obj: Message } | null) => void;
}) => void | PromiseLike<unknown>;
