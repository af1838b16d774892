import type { Delivery } from './delivery.js';
import type { Queue } from './queue.js';

/** Tells delivery and queue when the page is hidden, left, back, and when the network returns. */
export function watchPage({ hide, show, online }: Delivery, queue: Queue): void {
  addEventListener('online', online);
  document.addEventListener('visibilitychange', () => (document.hidden ? hide : show)());
  addEventListener('pagehide', () => {
    hide();
    queue.leave(true);
  });
  // Back from the browser's cache, too; another page may have served what was left here, which the lease tells.
  addEventListener('pageshow', () => {
    queue.leave(false);
    show();
  });
}
