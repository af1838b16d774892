// Writes what liquidjs makes of the templates in liquid.json back into it:
//   npm install liquidjs && node liquid.js
const fs = require('fs')
const path = require('path')
const { Liquid } = require('liquidjs')
const file = path.join(__dirname, 'liquid.json')
const oracle = JSON.parse(fs.readFileSync(file))
const engine = new Liquid({ timezoneOffset: 0 })
oracle.oracle = 'liquidjs ' + require('liquidjs/package.json').version
for (const c of oracle.cases) {
  delete c.want
  delete c.error
  try { c.want = engine.parseAndRenderSync(c.template, oracle.data) } catch (e) { c.error = e.message }
}
fs.writeFileSync(file, JSON.stringify(oracle, null, 1) + '\n')
