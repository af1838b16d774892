/**
 * The SDK for servers and functions (Node, Deno, Bun, edge workers): every call says
 * whose event it is. The shape of @segment/analytics-node.
 */
import { compose, type Fields } from './core/compose.js';
import { createDelivery, type Delivery } from './core/delivery.js';
import { createEmitter, type Emitter, type Listener } from './core/emitter.js';
import { createPipeline, type Pipeline } from './core/pipeline.js';
import { createQueue, type Queue } from './core/queue.js';
import type { ListedStore } from './core/store.js';
import type { AnyEvents, EventMap, Message, MessageType, Options, Properties } from './message.js';
import type { Context, Plugin, SourceMiddleware } from './plugin.js';
import type { SharedSettings } from './settings.js';

export type { AnyEvents, EventMap, Integrations, Message, MessageType, Options, Properties } from './message.js';
export type { Context, Plugin, SourceMiddleware } from './plugin.js';
export type { SharedSettings } from './settings.js';
export type { ListedStore, Store } from './core/store.js';
export type { Listener } from './core/emitter.js';
export { version } from './version.js';

/** Where events wait that must survive the process; spool() of `@tidegate/sdk-js/spool` makes one of a folder. */
export interface ServerSettings extends SharedSettings {
  spool?: ListedStore;
}

/** Whose event it is: one of the two ids is needed. */
export type Who = { userId: string; anonymousId?: string } | { userId?: never; anonymousId: string };

/** What every call may say besides. */
export type Extra = Omit<Options, 'userId' | 'anonymousId'>;

/** Called when the event is queued, or with what was wrong. */
export type ServerCallback = (error: unknown, context?: Context) => void;

const nowhere: ListedStore = { get: () => null, set: () => false, delete: () => false, keys: () => [] };

/** One of these serves a whole process. Close it before the process ends: `await analytics.closeAndFlush()`. */
export class Analytics<Events extends EventMap = AnyEvents> {
  readonly #settings: ServerSettings;
  readonly #emitter: Emitter;
  readonly #queue: Queue;
  readonly #delivery: Delivery;
  readonly #pipeline: Pipeline;
  #closed = false;
  readonly #pending = new Set<PromiseLike<unknown>>();

  constructor(settings: ServerSettings) {
    if (!settings.writeKey || !settings.host) throw new TypeError('tidegate: writeKey and host are needed');
    this.#settings = settings;
    this.#emitter = createEmitter(!!settings.debug);
    this.#queue = createQueue(settings.spool ?? nowhere, settings.writeKey, settings.maxQueueSize ?? 10_000);
    this.#delivery = createDelivery(
      this.#queue,
      {
        path: '/v1/batch',
        headers: { 'Content-Type': 'application/json', Authorization: `Basic ${btoa(settings.writeKey + ':')}` },
        fetch,
        flushAt: 20,
        flushInterval: 1_000,
        maxAge: 604_800_000,
        timeout: 15_000,
        maxBackoff: 60_000,
        batchBytes: 450_000,
        keepaliveBytes: 0,
        ...settings,
      },
      this.#emitter.emit,
    );
    this.#pipeline = createPipeline(this.#delivery.push, (error, event) => this.#emitter.emit('error', error, event));
    void this.register(...(settings.plugins ?? []));
    if (settings.spool) void this.#adopt();
  }

  track<Name extends keyof Events & string>(message: Who & Extra & { event: Name; properties?: Events[Name] }, callback?: ServerCallback): void {
    this.#send('track', message, { event: message.event, properties: message.properties as Properties | undefined }, callback);
  }

  identify(message: Who & Extra & { traits?: Properties }, callback?: ServerCallback): void {
    this.#send('identify', message, { traits: message.traits }, callback);
  }

  page(message: Who & Extra & { category?: string; name?: string; properties?: Properties }, callback?: ServerCallback): void {
    this.#view('page', message, callback);
  }

  screen(message: Who & Extra & { category?: string; name?: string; properties?: Properties }, callback?: ServerCallback): void {
    this.#view('screen', message, callback);
  }

  group(message: Who & Extra & { groupId: string; traits?: Properties }, callback?: ServerCallback): void {
    this.#send('group', message, { groupId: message.groupId, traits: message.traits }, callback);
  }

  alias(message: { userId: string; previousId: string } & Extra, callback?: ServerCallback): void {
    this.#send('alias', message, { previousId: message.previousId }, callback);
  }

  /** Adds plugins; events wait until they are loaded. */
  async register(...plugins: Plugin[]): Promise<void> {
    await Promise.all(plugins.map((plugin) => this.#pipeline.add(plugin, this)));
  }

  async deregister(...names: string[]): Promise<void> {
    await Promise.all(names.map((name) => this.#pipeline.remove(name)));
  }

  addSourceMiddleware(...middleware: SourceMiddleware[]): this {
    for (const each of middleware) this.#pipeline.use(each);
    return this;
  }

  /** `delivered`, `rejected`, `dropped`, `retry`, `error`, and the name of every call. */
  on(name: string, listener: Listener): this {
    this.#emitter.on(name, listener);
    return this;
  }

  once(name: string, listener: Listener): this {
    this.#emitter.once(name, listener);
    return this;
  }

  off(name: string, listener?: Listener): this {
    this.#emitter.off(name, listener);
    return this;
  }

  /** Sends what waits and tries for `timeout` milliseconds (0: once): whether all of it was acknowledged. */
  async flush({ timeout = 0 }: { timeout?: number } = {}): Promise<boolean> {
    const end = Date.now() + timeout;
    while (this.#pending.size) await Promise.all(this.#pending);
    while (!(await this.#delivery.flush())) {
      const left = end - Date.now();
      if (left <= 0) return false;
      await new Promise((resolve) => setTimeout(resolve, Math.min(left, 500)));
    }
    return true;
  }

  /** Takes no more events and flushes; what is left then stays in the spool, if there is one. */
  async closeAndFlush({ timeout = 10_000 }: { timeout?: number } = {}): Promise<boolean> {
    this.#closed = true;
    const all = await this.flush({ timeout });
    this.#delivery.stop();
    this.#queue.leave(true);
    return all;
  }

  async #adopt(): Promise<void> {
    const all = await this.#queue.adopt();
    this.#delivery.wake();
    if (!all && !this.#closed) {
      const timer = setTimeout(() => void this.#adopt(), 15_000) as number | { unref(): void };
      if (typeof timer === 'object') timer.unref(); // looking after others' events keeps no process alive
    }
  }

  #view(type: 'page' | 'screen', message: Who & Extra & { category?: string; name?: string; properties?: Properties }, callback?: ServerCallback): void {
    const { category, name } = message;
    const properties = { ...message.properties, ...(category && { category }), ...(name && { name }) };
    this.#send(type, message, { category, name, properties }, callback);
  }

  #send(type: MessageType, message: Extra & { userId?: string; anonymousId?: string }, fields: Fields, callback?: ServerCallback): void {
    const { userId, anonymousId } = message;
    if (!userId && !anonymousId) throw new TypeError(`tidegate: ${type} needs a userId or an anonymousId`);
    if (type === 'track' && !fields.event) throw new TypeError('tidegate: track needs an event');
    if (this.#closed) return callback?.(new Error('tidegate: closed'));
    const event: Message = compose(this.#settings, type, { anonymousId, userId, ...fields }, message, {});
    this.#emitter.emit(type, event);
    const settled = (context: Context | null) => callback?.(context ? undefined : new Error('tidegate: the event was not taken'), context ?? undefined);
    const way = this.#pipeline.run(event);
    if (way && 'then' in way) {
      const pending = way.then(settled).then(() => void this.#pending.delete(pending));
      this.#pending.add(pending);
    } else settled(way);
  }
}
