/** Free-form data of an event or a person. Values that JSON cannot say are left out. */
export type Properties = Record<string, unknown>;

/** Which destinations an event may go to: `{All: false, HubSpot: true}`. */
export type Integrations = Record<string, boolean | Record<string, unknown>>;

/** The six kinds of event. */
export type MessageType = 'track' | 'identify' | 'page' | 'screen' | 'group' | 'alias';

/** One event as it goes over the wire. */
export interface Message {
  type: MessageType;
  /** Stays the same over every retry; the server knows repeats by it. */
  messageId: string;
  /** When it happened by the clock of this device; the server corrects it. */
  timestamp: string;
  anonymousId?: string;
  userId?: string;
  event?: string;
  name?: string;
  category?: string;
  properties?: Properties;
  traits?: Properties;
  groupId?: string;
  previousId?: string;
  context: Record<string, unknown>;
  integrations?: Integrations;
}

/** What a single call may override. */
export interface Options {
  context?: Record<string, unknown>;
  integrations?: Integrations;
  timestamp?: Date | string | number;
  anonymousId?: string;
  userId?: string;
  messageId?: string;
}

/** Your events: the name of each with the type of its properties. */
export type EventMap = Record<string, object>;

/** The event map of those who have none: any name, any properties. */
export type AnyEvents = Record<string, Properties>;
