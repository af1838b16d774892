import type { Analytics } from '../analytics.js';
import type { Plugin } from '../plugin.js';

/** How errors are tracked. */
export interface ErrorSettings {
  /** The most errors that are told per page; the rest repeat them mostly. 20 */
  limit?: number;
}

/** Tracks `Error Occurred` for uncaught errors and unhandled rejections, each kind of them once per page. */
export function errors({ limit = 20 }: ErrorSettings = {}): Plugin {
  let end: (() => void) | undefined;
  return {
    name: 'Tidegate errors',
    type: 'utility',
    load(_context, analytics: Analytics) {
      if (typeof addEventListener === 'undefined') return;
      const told = new Set<string>();
      const tell = (error: unknown, message: string, place: object) => {
        const { name = 'Error', stack } = error instanceof Error ? error : ({} as Partial<Error>);
        const kind = `${name}: ${message}\n${stack?.split('\n')[1] ?? ''}`;
        if (told.has(kind) || told.size >= limit) return;
        told.add(kind);
        void analytics.track('Error Occurred', { name, message: message.slice(0, 1_000), stack: stack?.slice(0, 4_000), ...place });
      };
      const onError = (event: ErrorEvent) => tell(event.error, event.message, { source: event.filename, line: event.lineno, column: event.colno });
      const onRejection = (event: PromiseRejectionEvent) => {
        const reason: unknown = event.reason;
        tell(reason, reason instanceof Error ? reason.message : String(reason), { unhandledRejection: true });
      };
      addEventListener('error', onError);
      addEventListener('unhandledrejection', onRejection);
      end = () => {
        removeEventListener('error', onError);
        removeEventListener('unhandledrejection', onRejection);
      };
    },
    unload: () => end?.(),
  };
}
