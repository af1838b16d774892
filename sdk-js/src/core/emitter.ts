// eslint-disable-next-line @typescript-eslint/no-explicit-any -- listeners name their own arguments
export type Listener = (...args: any[]) => void;

/** Calls listeners by the name of what happened. A listener that throws stops nobody. */
export interface Emitter {
  on(name: string, listener: Listener): void;
  once(name: string, listener: Listener): void;
  off(name: string, listener?: Listener): void;
  emit(name: string, ...args: unknown[]): void;
  /** Whether the console is told, too. */
  debug: boolean;
}

export function createEmitter(debug: boolean): Emitter {
  const all: Record<string, Listener[]> = {};
  const emitter: Emitter = {
    debug,
    on: (name, listener) => void (all[name] = [...(all[name] ?? []), listener]),
    once(name, listener) {
      const once: Listener = (...args: unknown[]) => {
        emitter.off(name, once);
        listener(...args);
      };
      emitter.on(name, once);
    },
    off: (name, listener) => void (all[name] = (all[name] ?? []).filter((each) => listener && each !== listener)),
    emit(name, ...args) {
      if (emitter.debug) console.log('tidegate', name, ...args);
      for (const listener of all[name] ?? []) {
        try {
          listener(...args);
        } catch (error) {
          console.error(error);
        }
      }
    },
  };
  return emitter;
}
