/**
 * The SDK for browsers, workers and apps: events of one visitor, kept until the
 * server acknowledged them.
 */
export { load } from './core/browser.js';
export { version } from './version.js';
export type { Analytics, Callback, Elements, Happenings, OfElement, PageArguments, Queued } from './analytics.js';
export type { Categories, ConsentSettings, Decision } from './core/consent.js';
export type { Listener } from './core/emitter.js';
export type { Group, User } from './core/identity.js';
export type { CookieSettings } from './core/store.js';
export type { AnyEvents, EventMap, Integrations, Message, MessageType, Options, Properties } from './message.js';
export type { Context, DestinationMiddleware, Plugin, SourceMiddleware } from './plugin.js';
export type { Settings, SharedSettings } from './settings.js';
