import type { Message, MessageType, Options } from '../message.js';
import type { SharedSettings } from '../settings.js';
import { version } from '../version.js';
import { isObject, unique } from './text.js';

/** What only some types of event have. */
export type Fields = { [Name in keyof Message]?: Message[Name] | undefined };

/** Makes the event of a call. What the call says wins over the settings, those over what the SDK knows. */
export function compose(
  settings: SharedSettings,
  type: MessageType,
  fields: Fields,
  { timestamp, messageId, context, integrations }: Options,
  known: Record<string, unknown>,
): Message {
  const merged: Record<string, unknown> = { library: { name: '@tidegate/sdk-js', version }, timezone: Intl.DateTimeFormat().resolvedOptions().timeZone };
  for (const layer of [known, settings.context, settings.anonymizeIP && { ip: '0.0.0.0' }, context]) {
    // One level deep, so that one member of `page` can be said without the others.
    for (const [key, value] of Object.entries(layer || {})) merged[key] = isObject(value) && isObject(merged[key]) ? { ...merged[key], ...value } : value;
  }
  const at = new Date(timestamp ?? Date.now());
  return {
    type,
    messageId: messageId ?? unique(),
    timestamp: (isNaN(+at) ? new Date() : at).toISOString(),
    ...fields,
    context: merged,
    integrations: { ...settings.integrations, ...integrations },
  } as Message;
}
