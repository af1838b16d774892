import { readFileSync } from 'node:fs';

/** The snippet that the README tells people to copy, with its addresses set. */
export function readmeSnippet(script: string, host: string): string {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, snippet] = /```html\n(<script>[\s\S]*?<\/script>)\n```/.exec(readme) ?? [];
  if (!snippet) throw new Error('README.md has no snippet');
  return snippet.replace('https://cdn.example.com/tidegate.min.js', script).replace('https://events.example.com', host).replace('YOUR_WRITE_KEY', 'WK');
}
