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

const operation = (spec, method, path, op) => {
  const block = element('details', undefined,
    element('summary', undefined, element('b', method.toUpperCase()), element('code', path), element('span', op.summary)));
  block.append(element('p', op.description || ''));
  for (const p of op.parameters || []) {
    block.append(element('div', undefined, element('code', `${p.in} ${p.name}`), ` ${p.description || ''}`));
  }
  const request = schemaOf(spec, op.requestBody && op.requestBody.content);
  if (request) block.append(element('h4', 'Request'), element('pre', request));
  for (const [status, response] of Object.entries(op.responses || {})) {
    block.append(element('h4', `${status} ${response.description || ''}`));
    const shape = schemaOf(spec, response.content);
    if (shape) block.append(element('pre', shape));
  }
  return block;
};

fetch('openapi.json').then((r) => r.json()).then((spec) => {
  const list = Object.entries(spec.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, op]) => operation(spec, method, path, op)));
  document.getElementById('operations').replaceChildren(...list);
}).catch((err) => {
  document.getElementById('operations').textContent = `The document could not be read: ${err}`;
});
