// Renders openapi.json. Everything is set as text, never as markup.
'use strict';

const element = (name, text, ...children) => {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  e.append(...children);
  return e;
};

// resolve follows references one level deep at each place, so that a schema that
// holds itself ends.
const resolve = (spec, schema, depth = 0) => {
  if (!schema || typeof schema !== 'object' || depth > 6) return schema;
  if (Array.isArray(schema)) return schema.map((s) => resolve(spec, s, depth + 1));
  if (schema.$ref) return resolve(spec, spec.components.schemas[schema.$ref.split('/').pop()], depth + 1);
  return Object.fromEntries(Object.entries(schema).map(([k, v]) => [k, resolve(spec, v, depth + 1)]));
};

const schemaOf = (spec, content) => {
  const media = content && Object.values(content)[0];
  return media && JSON.stringify(resolve(spec, media.schema), null, 2);
};

// code is a block that scrolls, which the keyboard reaches too.
const code = (text, label) => {
  const e = element('pre', text);
  e.tabIndex = 0;
  e.setAttribute('role', 'region');
  e.setAttribute('aria-label', label);
  return e;
};

const operation = (spec, method, path, op) => {
  const block = element('details', undefined,
    element('summary', undefined, element('b', method.toUpperCase()), element('code', path), element('span', op.summary)));
  block.id = op.operationId;
  block.addEventListener('toggle', () => { // the address leads here again; a step back leaves the page
    if (block.open) history.replaceState(null, '', `#${block.id}`);
  });
  block.append(element('p', (op.description || '').replaceAll('`', '')));
  for (const p of op.parameters || []) {
    block.append(element('div', undefined, element('code', `${p.in} ${p.name}`), ` ${p.description || ''}`));
  }
  const request = schemaOf(spec, op.requestBody && op.requestBody.content);
  if (request) block.append(element('h2', 'Request'), code(request, `Request of ${op.operationId}`));
  for (const [status, response] of Object.entries(op.responses || {})) {
    block.append(element('h2', `${status} ${response.description || ''}`));
    const shape = schemaOf(spec, response.content);
    if (shape) block.append(code(shape, `Answer ${status} of ${op.operationId}`));
  }
  return block;
};

// lookUp opens the operation that the address names.
const lookUp = () => {
  const block = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (block && block.tagName === 'DETAILS') {
    block.open = true;
    block.scrollIntoView();
  }
};

fetch('openapi.json').then((r) => {
  if (!r.ok) throw new Error(`the server answered ${r.status}`);
  return r.json();
}).then((spec) => {
  const list = Object.entries(spec.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, op]) => operation(spec, method, path, op)));
  const place = document.getElementById('operations');
  place.removeAttribute('role');
  place.replaceChildren(...list);
  addEventListener('hashchange', lookUp);
  lookUp();
}).catch((err) => {
  document.getElementById('operations').textContent = `openapi.json could not be read: ${err.message}. Reload the page when the server is there.`;
});
