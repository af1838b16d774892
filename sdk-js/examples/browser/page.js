'use strict';
// The page needs dist/ (npm run build) and a hub; README.md beside it says how to start one.
const $ = (id) => document.getElementById(id);
const saved = JSON.parse(sessionStorage.getItem('hub') ?? 'null') ?? { host: 'http://localhost:8080', writeKey: 'WK' };
const hub = { ...saved, ...Object.fromEntries(new URLSearchParams(location.search)) };
for (const key of ['host', 'writeKey']) $('hub').elements[key].value = hub[key];
$('where').textContent = `Events go to ${hub.host} as they would from a page of yours.`;
$('hub').onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem('hub', JSON.stringify(Object.fromEntries(new FormData($('hub')))));
  location.search = '';
};

const rows = new Map();
function show(event, state, why = '') {
  let row = rows.get(event.messageId);
  if (!row) {
    row = document.createElement('li');
    row.innerHTML = '<details data-tidegate-ignore><summary><time></time><span class="name"></span><span class="state"></span></summary><pre></pre></details>';
    row.querySelector('time').textContent = event.timestamp.slice(11, 19);
    row.querySelector('.name').textContent = [event.type, event.event ?? event.name ?? event.userId ?? ''].join(' ');
    row.querySelector('pre').textContent = JSON.stringify(event, null, 2);
    $('log').querySelector('.empty')?.remove();
    $('log').prepend(row);
    rows.set(event.messageId, row);
    while ($('log').children.length > 100) $('log').lastChild.remove();
  }
  const badge = row.querySelector('.state');
  badge.className = `state ${state}`;
  badge.textContent = state;
  badge.title = why;
  visitor();
}
const { autocapture, engagement, errors, webVitals } = tidegate.plugins;
var analytics = tidegate.load({
  writeKey: hub.writeKey,
  host: hub.host,
  consent: { mode: 'opt-out' },
  plugins: [
    { name: 'Log of the example', type: 'after', ...Object.fromEntries(['track', 'identify', 'page', 'screen', 'group', 'alias'].map((type) => [type, ({ event }) => show(event, 'waiting')])) },
    autocapture({ clicks: true }), engagement(), errors(), webVitals(),
  ],
});

analytics.on('delivered', (events) => {
  for (const event of events) show(event, 'delivered');
  $('network').textContent = '';
});
analytics.on('rejected', (event, why) => show(event, 'rejected', why));
analytics.on('dropped', (event, why) => show(event, 'dropped', why));
analytics.on('retry', (status, pause) => {
  $('network').textContent = `${status ? `The hub answered ${status}` : 'The hub does not answer'}; again in ${(pause / 1000).toFixed(1)} s.`;
});

function visitor() {
  if (!analytics) return; // the first page view comes while it is loaded
  const facts = { 'anonymous id': analytics.user().anonymousId(), 'user id': analytics.user().id() ?? 'none yet', traits: JSON.stringify(analytics.user().traits()), consent: JSON.stringify(analytics.consent()) };
  $('visitor').replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [
    Object.assign(document.createElement('dt'), { textContent: name }),
    Object.assign(document.createElement('dd'), { textContent: value }),
  ]));
}
visitor();

$('page').onclick = () => analytics.page('Example');
$('ten').onclick = () => { for (let i = 1; i <= 10; i++) analytics.track('Counted', { i }); };
$('flush').onclick = () => analytics.flush();
$('who').onsubmit = (event) => {
  event.preventDefault();
  const email = new FormData($('who')).get('email');
  analytics.identify(email, { email });
};
$('reset').onclick = () => { analytics.reset(); visitor(); };
$('grant').onclick = () => { analytics.consent(true); visitor(); };
$('deny').onclick = () => { analytics.consent(false); visitor(); };
