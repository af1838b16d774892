import type { Message } from '../message.js';
import type { Context, DestinationMiddleware, Plugin, SourceMiddleware } from '../plugin.js';
import { isObject } from './text.js';

type Later<T> = T | PromiseLike<T>;

/** The event that goes on, or null. */
type Step = (context: Context) => Later<Context | null>;

/** What stops an event on its way. */
const canceled = new Error('canceled');

/** How long a plugin or middleware may keep an event. */
const patience = 10_000;

/**
 * Takes each event through middleware and plugins to the queue:
 *
 *   source middleware ─► before ─► enrichment ─► queue ─┬─► after
 *                                                       └─► destination middleware ─► destination
 *
 * As long as nothing on the way is asynchronous, the event is queued before the call
 * returns. Otherwise events keep their order: each waits for the one before it.
 */
export interface Pipeline {
  /** The event as it was queued, or null when something ended its way. Never rejects. */
  run(event: Message): Later<Context | null>;
  add(plugin: Plugin, analytics: unknown): Later<unknown>;
  remove(name: string): Later<unknown>;
  /** Middleware for one destination by name, for all of them (`*`), or, without a name, for all events. */
  use(middleware: SourceMiddleware | DestinationMiddleware, destination?: string): void;
}

export function createPipeline(queue: (event: Message) => boolean, failed: (error: unknown, event?: Message) => void): Pipeline {
  let plugins: Plugin[] = [];
  const middlewares: Record<string, Step[]> = {};
  let tail: PromiseLike<unknown> | undefined;

  /** Acts when all that came before is done: at once, if it is. The act must not reject. */
  const inTurn = <T>(act: () => Later<T>): Later<T> => {
    const result = tail ? tail.then(act) : act();
    if (isPromise(result)) {
      const mine = (tail = result.then(() => {
        if (tail === mine) tail = undefined;
      }));
    }
    return result;
  };

  /** The plugin as a step. A failure is reported and the event goes on, but not past a `before` plugin. */
  const step = (plugin: Plugin): Step => (context) =>
    attempt(
      () => then(within(plugin[context.event.type]?.(context)), (next) => next || context),
      (error) => {
        if (error !== canceled) failed(error, context.event);
        return error === canceled || plugin.type === 'before' ? null : context;
      },
    );

  const steps = (type: Plugin['type']) => plugins.filter((plugin) => plugin.type === type);

  const walk = (way: Step[], context: Context) =>
    attempt(
      () => way.reduce<Later<Context | null>>((at, next) => then(at, (each) => each && next(each)), context),
      (error) => {
        failed(error, context.event);
        return null;
      },
    );

  /** Destinations get copies and hold nobody up. */
  const deliver: Step = (context) => {
    const { integrations = {} } = context.event;
    for (const plugin of steps('destination')) {
      if ((integrations[plugin.name] ?? integrations['All']) === false) continue;
      void walk([...(middlewares['*'] ?? []), ...(middlewares[plugin.name] ?? []), step(plugin)], contextOf({ ...context.event }));
    }
    return context;
  };

  return {
    run: (event) =>
      inTurn(() =>
        walk(
          [
            ...(middlewares[''] ?? []),
            ...steps('before').map(step),
            ...steps('enrichment').map(step),
            (context) => (queue(context.event) ? context : null),
            deliver,
            ...steps('after').map(step),
          ],
          contextOf(event),
        ),
      ),
    add: (plugin, analytics) =>
      inTurn(() =>
        attempt<unknown>(
          () => then(within(plugin.load?.(contextOf({} as Message), analytics)), () => plugins.push(plugin)),
          failed,
        ),
      ),
    remove(name) {
      const gone = plugins.find((plugin) => plugin.name === name);
      plugins = plugins.filter((plugin) => plugin !== gone);
      return gone?.unload?.();
    },
    use: (middleware, destination = '') => void (middlewares[destination] ??= []).push(through(middleware as DestinationMiddleware, destination)),
  };
}

/** One middleware as a step: the event that it gave to next goes on. */
function through(middleware: DestinationMiddleware, integration: string): Step {
  return (context) => {
    let given: Message | undefined;
    const obj = context.event;
    const next = (payload: { obj: Message } | null) => {
      given = payload?.obj;
    };
    const call = { payload: { obj }, integrations: (obj.integrations ??= {}), integration, next };
    return then(within(middleware(call)), () => {
      if (given) context.event = given;
      return given ? context : null;
    });
  };
}

function contextOf(event: Message): Context {
  return {
    id: event.messageId,
    event,
    updateEvent(path, value) {
      const names = path.split('.');
      const last = names.pop() as string;
      let at = this.event as unknown as Record<string, unknown>;
      for (const name of names) at = at[name] = isObject(at[name]) ? { ...at[name] } : {};
      at[last] = value;
      return this.event;
    },
    cancel() {
      throw canceled;
    },
  };
}

/** The act's result; when it throws or rejects, what `broken` makes of that. */
function attempt<T>(act: () => Later<T>, broken: (error: unknown) => T): Later<T> {
  try {
    const result = act();
    return isPromise(result) ? result.then(undefined, broken) : result;
  } catch (error) {
    return broken(error);
  }
}

/** The value, or a failure when it is late. */
function within<T>(value: Later<T>): Later<T> {
  return isPromise(value)
    ? new Promise((resolve, reject) => {
        setTimeout(() => reject(new Error('timeout')), patience);
        value.then(resolve, reject);
      })
    : value;
}

function then<T, U>(value: Later<T>, next: (value: T) => Later<U>): Later<U> {
  return isPromise(value) ? value.then(next) : next(value);
}

function isPromise<T>(value: Later<T>): value is PromiseLike<T> {
  return !!(value as PromiseLike<T> | undefined)?.then;
}
