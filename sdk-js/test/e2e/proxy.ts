import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the road to the server does to a batch. `lost`: the server gets it, the client never hears of it. */
export type Fault = 'none' | 'lost' | 'reset' | 'slow' | 429 | 500 | 503;

/** A road to a server on which things go wrong, by a plan that every client meets alike. */
export interface Proxy {
  origin: string;
  /** Faults of the next batches; after them the road is good. */
  plan: Fault[];
  met: Record<string, number>;
  close(): Promise<void>;
}

export async function openProxy(target: string): Promise<Proxy> {
  const proxy: Proxy = {
    origin: '', plan: [], met: {},
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
  const server = createServer((request, response) => void pass(proxy, target, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  proxy.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return proxy;
}

async function pass(proxy: Proxy, target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer);
  } catch {
    return;
  }
  const fault = request.method === 'POST' ? (proxy.plan.shift() ?? 'none') : 'none';
  proxy.met[fault] = (proxy.met[fault] ?? 0) + 1;
  if (fault === 'slow') await new Promise((resolve) => setTimeout(resolve, 700));
  if (fault === 'reset') return void request.socket.destroy();
  if (typeof fault === 'number') {
    if (fault === 429) response.setHeader('Retry-After', '1');
    return void response.writeHead(fault, { 'Access-Control-Allow-Origin': '*' }).end('{"success":false}');
  }
  const forward = httpRequest(target + (request.url ?? '/'), { method: request.method ?? 'GET', headers: { ...request.headers, host: new URL(target).host } }, (answer) => {
    if (fault === 'lost') {
      answer.resume();
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  forward.on('error', () => request.socket.destroy());
  forward.end(Buffer.concat(chunks));
}
