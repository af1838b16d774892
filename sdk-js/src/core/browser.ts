import type { Analytics, Callback, Elements, OfElement, Queued } from '../analytics.js';
import type { AnyEvents, EventMap, Message, MessageType, Options, Properties } from '../message.js';
import type { Context, DestinationMiddleware, Plugin, SourceMiddleware } from '../plugin.js';
import type { Settings } from '../settings.js';
import { version } from '../version.js';
import { takeApart } from './arguments.js';
import { compose, type Fields } from './compose.js';
import { decisionOf, judge, type Decision } from './consent.js';
import { createDelivery } from './delivery.js';
import { createEmitter, type Listener } from './emitter.js';
import { createIdentity } from './identity.js';
import { watchPage } from './lifecycle.js';
import { currentPage, deviceContext, originOf } from './page.js';
import { createPipeline } from './pipeline.js';
import { createQueue } from './queue.js';
import { touchSession } from './session.js';
import { cookieStore, localStore } from './store.js';
import { isObject, parseObject } from './text.js';
import { anonymousIdKey, createVault, consentKey, firstKey, personalKeys } from './vault.js';

/** Events that may wait for the visitor's decision. */
const mostHeld = 100;

/**
 * The SDK for pages, workers and apps: one visitor. Give it your events: `load<MyEvents>({…})`.
 *
 * Here the parts are put together. They know nothing of each other; what passes between them passes here.
 */
export function load<Events extends EventMap = AnyEvents>(settings: Settings): Analytics<Events> {
  const inPage = typeof document !== 'undefined';
  const { storage = 'all', sessionTimeout = 1_800_000 } = settings;
  const emitter = createEmitter(!!settings.debug);
  const { on, once, off, emit } = emitter;
  const cookies = inPage && /all|cookie/.test(storage) ? cookieStore(settings.cookie) : undefined;
  const local = /all|local/.test(storage) ? localStore() : undefined;
  const vault = createVault(cookies, local);
  const identity = createIdentity(vault);
  const { user, group } = identity;
  const browser = ((globalThis as { navigator?: object }).navigator ?? {}) as { doNotTrack?: string; globalPrivacyControl?: boolean };
  const refused = (settings.respectDoNotTrack && browser.doNotTrack === '1') || (settings.respectGlobalPrivacyControl && browser.globalPrivacyControl);
  const verdict = () => judge(settings.consent, refused, decisionOf(vault));
  let storing = false;
  const held: (() => void)[] = [];

  const queue = createQueue(
    // Nothing is kept before consent.
    {
      get: (key) => local?.get(key),
      set: (key, text) => storing && local?.set(key, text),
      delete: (key) => local?.delete(key),
      keys: () => (storing && local?.keys()) || [],
    },
    settings.writeKey,
    settings.maxQueueSize ?? 1_000,
  );
  const delivery = createDelivery(
    queue,
    {
      path: '/v1/batch',
      headers: { 'Content-Type': 'text/plain' }, // with any other the browser asks first
      fetch,
      flushAt: 20,
      flushInterval: 1_000,
      maxAge: 604_800_000,
      timeout: 15_000,
      maxBackoff: 300_000,
      batchBytes: 60_000, // so that any request may outlive its page: browsers allow 64 KiB for that
      keepaliveBytes: 60_000,
      ...settings,
    },
    emit,
  );
  const pipeline = createPipeline(delivery.push, (error, event) => emit('error', error, event));

  const adopt = async () => {
    const all = await queue.adopt();
    if (queue.size()) delivery.wake();
    if (!all) setTimeout(() => void adopt(), 15_000); // the other tab may die yet
  };

  /** Brings what is stored and held in line with what the visitor allows. */
  const settle = () => {
    const now = verdict();
    storing = now === 'store';
    const first = storing && inPage && !cookies?.get(anonymousIdKey) && !local?.get(anonymousIdKey);
    if (first && settings.migrate !== false) identity.takeOver();
    vault.persist(storing);
    if (now === 'drop') queue.clear();
    if (now !== 'hold') held.splice(0).forEach((release) => release());
    if (storing) void adopt();
  };

  const pass = (event: Message) => {
    const said = decisionOf(vault);
    if (isObject(said)) event.context['consent'] = { categoryPreferences: said };
    return pipeline.run(event);
  };

  const known = (): Record<string, unknown> => {
    const session = sessionTimeout && touchSession(vault, sessionTimeout);
    if (!inPage) return { ...session };
    const page = currentPage();
    const origin = originOf(page.search);
    let firstTouch = parseObject(vault.get(firstKey));
    if (!firstTouch) {
      firstTouch = { ...page, ...origin, at: new Date().toISOString() };
      vault.set(firstKey, JSON.stringify(firstTouch));
    }
    return { ...deviceContext(), ...session, page, ...origin, firstTouch };
  };

  const send = (type: MessageType, fields: Fields, options: Options, callback?: Callback, ...told: unknown[]): Queued => {
    const now = verdict();
    let way: Context | null | PromiseLike<Context | null> = null;
    if (now !== 'drop') {
      const who = { anonymousId: options.anonymousId ?? user.anonymousId(), userId: options.userId ?? user.id() ?? undefined };
      const event = compose(settings, type, { ...who, ...fields }, options, known());
      if (type === 'page') event.properties = { ...(event.context['page'] as object), ...event.properties };
      emit(type, ...told, options);
      if (now !== 'hold') way = pass(event);
      else if (held.length < mostHeld) {
        way = new Promise((resolve) =>
          held.push(() => {
            if (!options.anonymousId) event.anonymousId = user.anonymousId(); // an older one may have come up
            resolve(verdict() === 'drop' ? null : pass(event));
          }),
        );
      } else emit('dropped', event, 'queue full');
    }
    const done = Promise.resolve(way);
    void done.then(callback);
    return done;
  };

  const view = (type: 'page' | 'screen') => (...args: unknown[]) => {
    const { ids, data, options, callback } = takeApart(args, 2);
    const name = ids.pop();
    const [category] = ids;
    const properties = { ...data, ...(category && { category }), ...(name && { name }) };
    return send(type, { category, name, properties }, options, callback, category, name, properties);
  };

  const become = (type: 'identify' | 'group', who: typeof group) => (...args: unknown[]) => {
    const { ids, data, options, callback } = takeApart(args, 1);
    if (verdict() !== 'drop') who.become(ids[0], data);
    const id = who.id() ?? undefined;
    return send(type, { ...(type === 'group' && { groupId: id }), traits: who.traits() }, options, callback, id, data);
  };
  const join = become('group', group);

  const follow = (elements: Elements, event: OfElement<string>, properties?: OfElement<Properties>) => {
    for (const element of elements instanceof Element ? [elements] : Array.from(elements ?? [])) {
      const of = <T>(value: OfElement<T>) => (typeof value === 'function' ? (value as (element: Element) => T)(element) : value);
      element.addEventListener(element instanceof HTMLFormElement ? 'submit' : 'click', () => {
        void analytics.track(of(event), of(properties) ?? {});
        void delivery.flush();
      });
    }
    return analytics;
  };

  const chain =
    <Args extends unknown[]>(act: (...args: Args) => unknown) =>
    (...args: Args) => {
      act(...args);
      return analytics;
    };

  const analytics = {
    version,
    track(...args: unknown[]) {
      const { ids, data, options, callback } = takeApart(args, 1);
      const [event] = ids;
      if (!event) throw new TypeError('no event');
      return send('track', { event, properties: data }, options, callback, event, data);
    },
    identify: become('identify', user),
    page: view('page'),
    screen: view('screen'),
    group: (...args: unknown[]) => (args.length ? join(...args) : group),
    alias(...args: unknown[]) {
      const { ids, data, options, callback } = takeApart(args, 2);
      const [userId, previousId = user.id() ?? user.anonymousId()] = ids;
      return send('alias', { userId, previousId }, { ...data, ...options }, callback, userId, previousId);
    },
    user: () => user,
    setAnonymousId: identity.setAnonymousId,
    reset: chain(() => {
      for (const key of personalKeys) vault.set(key, null);
      identity.setAnonymousId(); // so that the next page is no first visit
      emit('reset');
    }),
    trackLink: follow,
    trackClick: follow,
    trackForm: follow,
    trackSubmit: follow,
    register: (...plugins: Plugin[]) => Promise.all(plugins.map((plugin) => pipeline.add(plugin, analytics))),
    deregister: (...names: string[]) => Promise.all(names.map(pipeline.remove)),
    addSourceMiddleware: chain((...middleware: SourceMiddleware[]) => middleware.forEach((each) => pipeline.use(each))),
    addDestinationMiddleware: chain((names: string | string[], ...middleware: DestinationMiddleware[]) =>
      [names].flat().forEach((name) => middleware.forEach((each) => pipeline.use(each, name))),
    ),
    ready: (callback?: () => void) => loaded.then(callback),
    on: chain(on as (name: string, listener: Listener) => void),
    once: chain(once as (name: string, listener: Listener) => void),
    off: chain(off as (name: string, listener?: Listener) => void),
    emit: chain(emit),
    consent(decision?: Decision) {
      if (decision === undefined) return decisionOf(vault) ?? null;
      vault.set(consentKey, JSON.stringify(decision));
      emit('consent', decision);
      settle();
      return analytics;
    },
    flush: delivery.flush,
    debug: chain((say = true) => (emitter.debug = say as boolean)),
  } as unknown as Analytics;

  settle();
  if (inPage) watchPage(delivery, queue);
  const loaded = analytics.register(...(settings.plugins ?? []));
  return analytics as unknown as Analytics<Events>;
}
