import { sessionKey, type Vault } from './vault.js';

/**
 * The visit that goes on now, shared by all tabs. Its id is the time at which it
 * began; it ends after `timeout` milliseconds without events.
 */
export function touchSession(vault: Vault, timeout: number): { sessionId: number; sessionStart?: true } {
  const now = Date.now();
  const [id = 0, last = 0] = (vault.get(sessionKey) ?? '').split('.').map(Number);
  const start = Math.abs(now - last) > timeout;
  vault.set(sessionKey, `${start ? now : id}.${now}`);
  return start ? { sessionId: now, sessionStart: true } : { sessionId: id };
}
