/** A text that nobody else makes: a UUID; on pages without https, where there is none, 128 random bits. */
export function unique(): string {
  if (crypto.randomUUID as unknown) return crypto.randomUUID();
  return crypto.getRandomValues(new Uint32Array(4)).join('-');
}

/** What the JSON text says, undefined when it is none. */
export function parse(text: string | null | undefined): unknown {
  try {
    return JSON.parse(text || '');
  } catch {
    return undefined;
  }
}

/** The object that the JSON text says, or undefined. */
export function parseObject(text: string | null | undefined): Record<string, unknown> | undefined {
  const value = parse(text);
  return isObject(value) ? value : undefined;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && !!value && !Array.isArray(value);
}

/** The length of the text in UTF-8. */
export function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
