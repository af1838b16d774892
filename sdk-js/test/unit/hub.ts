import type { Message } from '../../src/message.js';

/** What a request is answered with: a status with headers and a body, or nothing at all. */
export type Answer = { status: number; headers?: Record<string, string>; body?: object } | 'reset' | 'silence';

/** A server in the test's memory: it remembers every request and answers by plan, then with 200. */
export interface Hub {
  fetch: typeof fetch;
  requests: { url: string; headers: Record<string, string>; keepalive: boolean; body: { writeKey: string; sentAt: string; batch: Message[] } }[];
  /** The events that it acknowledged or may have kept, in order, repeats and all. */
  events(): Message[];
  plan: Answer[];
}

export function openHub(...plan: Answer[]): Hub {
  const hub: Hub = {
    plan,
    requests: [],
    events: () => taken,
    fetch: async (url, init) => {
      const body = JSON.parse(init?.body as string) as Hub['requests'][0]['body'];
      hub.requests.push({ url: url as string, headers: init?.headers as Record<string, string>, keepalive: !!init?.keepalive, body });
      const answer = hub.plan.shift() ?? { status: 200 };
      if (answer === 'reset') throw new TypeError('Failed to fetch');
      if (answer === 'silence') {
        taken.push(...body.batch); // kept, but nobody hears of it
        return new Promise((_, reject) => init?.signal?.addEventListener('abort', () => reject(new DOMException('late', 'TimeoutError'))));
      }
      if (answer.status < 300) taken.push(...body.batch);
      const text = JSON.stringify(answer.body ?? { success: answer.status < 300 });
      return new Response(text, { status: answer.status, ...(answer.headers && { headers: answer.headers }) });
    },
  };
  const taken: Message[] = [];
  return hub;
}

/** Each messageId once, in order of first arrival: what the warehouse holds. */
export function once(events: Message[]): string[] {
  return [...new Set(events.map((event) => event.messageId))];
}
