import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Message } from '../../src/message.js';

const dist = fileURLToPath(new URL('../../dist/', import.meta.url));

/** How a batch is answered. `lost`: it is taken, and the connection dies before the answer. */
export type Answer = number | 'reset' | 'lost' | { status: number; retryAfter?: number; wait?: number };

/** A server on loopback: it serves pages and the built files, takes events by plan, and remembers all. */
export interface PageHub {
  port: number;
  origin: string;
  /** Every event of every request that was taken, repeats and all. */
  taken: Message[];
  requests: { events: Message[]; at: number; headers: IncomingMessage['headers']; answer: Answer }[];
  preflights: number;
  /** Answers for the next batches; 200 after them. */
  plan: Answer[];
  pages: Map<string, string>;
  close(): Promise<void>;
  /** Waits until the fact holds. */
  until(what: string, fact: () => boolean, limit?: number): Promise<void>;
}

export async function openPageHub(): Promise<PageHub> {
  const hub: PageHub = {
    port: 0, origin: '', taken: [], requests: [], preflights: 0, plan: [], pages: new Map(),
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
    async until(what, fact, limit = 15_000) {
      for (const end = Date.now() + limit; !fact(); await new Promise((resolve) => setTimeout(resolve, 20))) {
        if (Date.now() > end) throw new Error(`waited in vain for ${what}; ${hub.requests.length} requests, ${new Set(hub.taken.map((event) => event.messageId)).size} events`);
      }
    },
  };
  const server = createServer((request, response) => void serve(hub, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  hub.port = (server.address() as AddressInfo).port;
  hub.origin = `http://localhost:${hub.port}`;
  return hub;
}

async function serve(hub: PageHub, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = new URL(request.url ?? '/', 'http://x').pathname;
  response.setHeader('Access-Control-Allow-Origin', '*');
  if (request.method === 'OPTIONS') {
    hub.preflights++;
    response.setHeader('Access-Control-Allow-Headers', '*').end();
  } else if (path === '/v1/batch') await take(hub, request, response);
  else if (path.startsWith('/dist/') && existsSync(dist + path.slice(6))) response.setHeader('Content-Type', 'text/javascript').end(readFileSync(dist + path.slice(6)));
  else if (path.endsWith('/analytics.min.js')) response.setHeader('Content-Type', 'text/javascript').end(readFileSync(dist + 'analytics.min.js'));
  else if (hub.pages.has(path)) response.setHeader('Content-Type', 'text/html').end(hub.pages.get(path));
  else response.writeHead(404).end();
}

async function take(hub: PageHub, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer);
  } catch {
    return; // the page went away in the middle
  }
  const { batch } = JSON.parse(Buffer.concat(chunks).toString()) as { batch: Message[] };
  const answer = hub.plan.shift() ?? 200;
  hub.requests.push({ events: batch, at: Date.now(), headers: request.headers, answer });
  const { status, retryAfter, wait } = typeof answer === 'object' ? answer : { status: answer as number, retryAfter: 0, wait: 0 };
  if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
  if (answer === 'reset') return void request.socket.destroy();
  if (answer === 'lost' || status < 300) hub.taken.push(...batch);
  if (answer === 'lost') return void request.socket.destroy();
  if (retryAfter) response.setHeader('Retry-After', String(retryAfter)).setHeader('Access-Control-Expose-Headers', 'Retry-After');
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ success: status < 300 }));
}

/** A page with the built core and an instance in `window.analytics`. */
export function pageWith(settings = '', body = '', script = 'tidegate.min.js', host = ''): string {
  return `<!doctype html><title>A page</title><body><script src="/dist/${script}"></script>
<script>window.analytics = tidegate.load({ writeKey: 'WK', host: ${host ? JSON.stringify(host) : 'location.origin'}, flushInterval: 200, ${settings} })</script>${body}</body>`;
}

/** How often each event was taken, by its name. */
export function counts(hub: PageHub): Record<string, number> {
  const all: Record<string, number> = {};
  for (const { event = '' } of hub.taken) all[event] = (all[event] ?? 0) + 1;
  return all;
}

/** The names of the events, each messageId once, as a warehouse would hold them. */
export function held(hub: PageHub): string[] {
  const byId = new Map(hub.taken.map((event) => [event.messageId, event.event ?? event.type]));
  return [...byId.values()];
}
