import type { Message } from '../message.js';
import type { Entry, Queue } from './queue.js';
import { byteLength, parse, parseObject } from './text.js';

/** How events are sent. Times are in milliseconds. */
export interface DeliverySettings {
  writeKey: string;
  host: string;
  path: string;
  headers: Record<string, string>;
  fetch: typeof fetch;
  flushAt: number;
  flushInterval: number;
  maxAge: number;
  timeout: number;
  maxBackoff: number;
  /** The most bytes in a request. */
  batchBytes: number;
  /** The most bytes in all requests that may outlive the page at one time; 0 where there is no page. */
  keepaliveBytes: number;
}

export interface Delivery {
  /** Takes the event into the queue. false: it was refused, and `dropped` said why. */
  push(event: Message): boolean;
  /** Sends all that waits: whether all of it was acknowledged. */
  flush(): Promise<boolean>;
  /** How long the next flush is to wait, in milliseconds. */
  /** Sends soon what waits. */
  wake(): void;
  /** The page is hidden: sends what waits in a way that outlives the page, and at once from now on. */
  hide(): void;
  show(): void;
  /** The network is back. */
  online(): void;
  /** Ends the waiting; a later push begins anew. */
  stop(): void;
}

/** The protocol's limit for one event. */
const eventBytes = 32_768;
/** The most events in a request. */
const batchEvents = 100;
const firstPause = 1_000;
/** The longest Retry-After that is believed. */
const longestWait = 3_600_000;

/**
 * Sends the queue, one request at a time so that order holds:
 *
 *   idle ──push──► waiting ──timer──► sending ──2xx──► idle, or sending the next
 *                     ▲                  │ else
 *                     └──── pause ◄──────┘
 *
 * An event leaves the queue when the server acknowledged it, when it grew too old, or
 * when the server refused it alone. Everything else, a wrong write key included, is
 * tried again: what is wrong today may be mended tomorrow.
 */
export function createDelivery(queue: Queue, settings: DeliverySettings, emit: (name: string, ...args: unknown[]) => void): Delivery {
  const { writeKey, headers, fetch } = settings; // fetch is called bare: browsers insist
  const url = settings.host.replace(/\/+$/, '') + settings.path;
  const now = () => performance.now(); // a clock that nobody sets
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due = 0;
  let running: Promise<boolean> | undefined;
  let failures = 0;
  let notBefore = 0;
  let told = false; // the server named the pause
  let most = batchEvents;
  let hidden = false;
  let outliving = 0;

  const schedule = (wait: number) => {
    const at = Math.max(now() + wait, notBefore);
    if (timer && due <= at) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(() => void flush(), at - now());
  };

  const mustWait = () => told && now() < notBefore;

  const bodyOf = (batch: Entry[]) =>
    `{"writeKey":${JSON.stringify(writeKey)},"sentAt":"${new Date().toISOString()}","batch":[${batch.map((entry) => entry.text).join()}]}`;

  const drop = (entries: Entry[], reason: string) => {
    queue.done(entries);
    for (const { text } of entries) emit('dropped', parse(text), reason);
  };

  /** Sends one batch. Whether the queue may go on at once. */
  const send = async (batch: Entry[]): Promise<boolean> => {
    const body = bodyOf(batch);
    const size = byteLength(body);
    const keepalive = outliving + size <= settings.keepaliveBytes;
    if (keepalive) outliving += size;
    let status = 0;
    let answer: Record<string, unknown> = {};
    let asked = 0;
    try {
      const signal = (AbortSignal as { timeout?: (after: number) => AbortSignal }).timeout?.(settings.timeout) as AbortSignal; // missing in browsers of before 2022
      const response = await fetch(url, { method: 'POST', body, keepalive, headers, signal });
      asked = retryAfter(response.headers.get('Retry-After'));
      answer = parseObject(await response.text()) ?? {};
      status = response.status;
    } catch {
      // No answer, or half of one: nothing is known, and all is sent again.
    }
    if (keepalive) outliving -= size;
    if (status >= 200 && status < 300) {
      failures = notBefore = 0;
      most = Math.min(most * 2, batchEvents);
      queue.done(batch);
      const events = batch.map((entry) => parse(entry.text));
      for (const { index, code, message } of (answer['errors'] ?? []) as { index: number; code: string; message: string }[]) {
        emit('rejected', events[index], `${code}: ${message}`);
      }
      emit('delivered', events);
      return true;
    }
    queue.back(batch);
    if ([400, 413, 422].includes(status)) {
      // This body will never be taken. Halved until the bad event stands alone.
      if (batch.length === 1) drop(batch, `status ${status}: ${answer['message'] as string}`);
      most = Math.ceil(batch.length / 2);
      return true;
    }
    told = asked > 0;
    const pause = told
      ? Math.min(asked, longestWait)
      : Math.min(settings.maxBackoff, firstPause * 2 ** failures++) * (0.5 + Math.random() / 2);
    notBefore = now() + pause;
    emit('retry', status, pause);
    schedule(0); // which is when the pause is over
    return false;
  };

  const next = (bytes: number): Entry[] => {
    const batch = queue.take(most, bytes);
    const old = batch.filter((entry) => Date.now() - entry.serial / 1000 > settings.maxAge);
    if (!old.length) return batch;
    queue.back(batch);
    drop(old, 'too old');
    return next(bytes);
  };

  const drain = async () => {
    for (let batch: Entry[]; (batch = next(settings.batchBytes)).length; ) if (!(await send(batch))) return false;
    return true;
  };

  const flush = async (): Promise<boolean> => {
    clearTimeout(timer);
    timer = undefined;
    const done = !mustWait() && (await (running ??= drain().finally(() => (running = undefined))));
    if (queue.size()) schedule(done ? settings.flushInterval : 0);
    return done;
  };

  const hide = () => {
    hidden = true;
    // As long as the largest event has room. What has none is sent by the next page.
    while (!mustWait() && outliving + eventBytes < settings.keepaliveBytes) {
      const batch = next(settings.keepaliveBytes - outliving - 200); // 200 for what stands around the events
      if (!batch.length) return;
      void send(batch);
    }
  };

  const wake = () => {
    if (hidden && now() >= notBefore) hide();
    else if (queue.size()) schedule(queue.size() >= settings.flushAt ? 0 : settings.flushInterval);
  };

  return {
    push(event) {
      const text = JSON.stringify(event);
      const reason = byteLength(text) > eventBytes ? 'too large' : queue.push(text) ? '' : 'queue full';
      if (reason) emit('dropped', event, reason);
      else wake();
      return !reason;
    },
    flush,
    wake,
    hide,
    show() {
      hidden = false;
      wake();
    },
    online() {
      if (mustWait()) return;
      failures = notBefore = 0;
      wake();
    },
    stop: () => clearTimeout(timer),
  };
}

/** Milliseconds that a Retry-After asks for, 0 for none. It is a number of seconds or a date. */
function retryAfter(value: string | null): number {
  return Number(value) * 1000 || Math.max(Date.parse(value as string) - Date.now(), 0) || 0;
}
