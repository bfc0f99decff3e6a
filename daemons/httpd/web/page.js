// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The page: one stream of events in, elements out. What comes from the server is text and is only ever set as text. The stream is read with fetch(), not EventSource, because that can
// carry the token; and with it the page knows at once whether one is wanted. Numbers over time are kept here, for as long as the page is open.
'use strict';

const POINTS = 90; // seconds in a chart
const images = new Map(), jobs = new Map(), cards = new Map();
let failovers = [], session = null, configured = null;

const $ = id => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function makeSvg(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Words for numbers.

function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  while (bytes >= 1024 && i < units.length - 1) { bytes /= 1024; i++; }
  return (bytes < 10 && i > 0 && bytes % 1 ? bytes.toFixed(1) : Math.round(bytes)) + ' ' + units[i];
}

function delay(usec) {
  if (usec < 1000) return Math.round(usec) + ' µs';
  if (usec < 1e6) return (usec / 1000).toFixed(usec < 1e4 ? 1 : 0) + ' ms';
  return (usec / 1e6).toFixed(1) + ' s';
}

function since(usec) {
  let s = Math.max(0, Math.round(Date.now() / 1000 - usec / 1e6));
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min';
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
  return Math.floor(s / 86400) + ' d ' + Math.floor(s % 86400 / 3600) + ' h';
}

const tones = {
  attached: 'good', active: 'good', standby: 'good', reachable: 'good', done: 'good',
  attaching: 'warn', reconnecting: 'warn', detaching: 'warn', draining: 'warn', running: 'warn', cancelling: 'warn',
  parked: 'bad', failed: 'bad', unreachable: 'bad', refused: 'bad',
};
const tone = state => tones[state] || 'off';

function pill(element, state) {
  setText(element, state);
  element.className = 'pill ' + tone(state);
}

function notice(text) {
  $('notice').hidden = !text;
  setText($('notice'), text || '');
}

// Talking to the server.

function headers(more) {
  const token = sessionStorage.getItem('token');
  return { ...(token ? { Authorization: 'Bearer ' + token } : {}), ...more };
}

class Refusal extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function call(method, path, body) {
  const answer = await fetch(path, {
    method, cache: 'no-store', credentials: 'omit',
    headers: headers(method === 'POST' ? { 'Content-Type': 'application/json', 'X-Blockstore-CSRF': session ? session.csrf_token : '' } : {}),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(answer.status, value.message || 'The server said ' + answer.status + '.');
  return value;
}

// A question with two answers. Resolves to null, or to what was filled in.
function ask({ title, text, yes, danger, field, check, secret }) {
  const dialog = $('confirm');
  setText($('confirm-title'), title);
  setText($('confirm-text'), text || '');
  setText($('confirm-yes'), yes);
  $('confirm-yes').className = danger ? 'danger' : 'main';
  $('confirm-field').hidden = !field;
  setText($('confirm-field').firstElementChild, field || '');
  $('confirm-input').value = '';
  if (secret) $('confirm-input').setAttribute('type', 'password'); else $('confirm-input').removeAttribute('type');
  $('confirm-input').required = Boolean(field);
  $('confirm-check').hidden = !check;
  setText($('confirm-check').lastElementChild, check || '');
  $('confirm-box').checked = false;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => {
    const text = $('confirm-input').value;
    $('confirm-input').value = '';
    resolve(dialog.returnValue === 'yes' ? { text, checked: $('confirm-box').checked } : null);
  }, { once: true }));
}

async function askToken() {
  const answer = await ask({ title: 'Token', text: 'From another host this page needs the token of blockstore-httpd. It is kept until this tab is closed.', yes: 'Go on', field: 'Token', secret: true });
  if (!answer) return false;
  sessionStorage.setItem('token', answer.text.trim());
  return true;
}

async function change(path, body, what) {
  try {
    notice('');
    await call('POST', path, body);
  } catch (error) {
    if (error.status === 401 && await askToken()) return change(path, body, what);
    notice(what + ': ' + error.message);
  }
  return undefined;
}

const isAttached = image => image.state !== 'inactive' && image.state !== 'failed';

async function toggle(name) {
  const image = images.get(name);
  if (!image) return;
  const base = '/api/v1/images/' + encodeURIComponent(name);
  if (isAttached(image)) {
    const answer = await ask({ title: 'Detach ' + name + '?', danger: true, yes: 'Detach',
      text: (image.device ? image.device + ' and /dev/blockstore/' + name + ' go away. ' : '') + 'While something uses the device, nothing is done.',
      check: 'as soon as nobody uses the device any more' });
    if (answer) await change(base + '/detach', answer.checked ? { lazy: true } : {}, 'Not detached');
  } else {
    const answer = await ask({ title: 'Attach ' + name + '?', yes: 'Attach', text: 'It becomes /dev/blockstore/' + name + ' on this host.', check: 'read-only' });
    if (answer) await change(base + '/attach', answer.checked ? { read_only: true } : {}, 'Not attached');
  }
}

async function attachNew() {
  const answer = await ask({ title: 'Attach an image', yes: 'Attach', text: 'It becomes /dev/blockstore/NAME on this host.', field: 'Name of the image', check: 'read-only' });
  if (answer) await change('/api/v1/images/' + encodeURIComponent(answer.text.trim()) + '/attach', answer.checked ? { read_only: true } : {}, 'Not attached');
}

// Charts.

function chart(...classes) {
  const svg = makeSvg('svg', { viewBox: `0 0 ${POINTS - 1} 30`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const lines = classes.map(name => svg.appendChild(makeSvg('polyline', { class: name })));
  return { svg, lines };
}

function draw({ lines }, ...series) {
  const max = Math.max(1, ...series.flat());
  series.forEach((values, i) => {
    const first = POINTS - values.length;
    lines[i].setAttribute('points', values.map((v, k) => `${first + k},${(29 - 27 * v / max).toFixed(2)}`).join(' '));
  });
}

// Where an image is read (above) and written (below): one column for each part of it. A row is some pixels high, lest the two run into each other when the browser scales them.
const HEAT_ROW = 8;
function drawHeat(card, map) {
  const rows = [map.reads, map.writes], n = map.reads.length;
  card.heat.hidden = n === 0;
  if (n === 0) return;
  card.canvas.width = n;
  card.canvas.height = rows.length * HEAT_ROW;
  const context = card.canvas.getContext('2d'), colors = getComputedStyle(document.documentElement);
  rows.forEach((row, y) => {
    const max = Math.max(1, ...row);
    context.fillStyle = colors.getPropertyValue(y ? '--write' : '--read').trim();
    row.forEach((value, x) => {
      if (value < 0.01) return;
      context.globalAlpha = 0.25 + 0.75 * Math.log1p(value) / Math.log1p(max);
      context.fillRect(x, y * HEAT_ROW, 1, HEAT_ROW);
    });
  });
  setText(card.heatEnd, size(map.size));
}

// One after the other, so that ten images are not ten requests at once. Hidden where the worker does not count.
async function showHeat() {
  for (;;) {
    for (const [name, card] of [...cards]) {
      const image = images.get(name);
      if (document.hidden || !image || image.state === 'inactive') { card.heat.hidden = card.heat.hidden || !image || image.state === 'inactive'; continue; }
      try {
        drawHeat(card, await call('GET', '/api/v1/images/' + encodeURIComponent(name) + '/heatmap'));
      } catch {
        card.heat.hidden = true;
      }
    }
    await new Promise(resolve => setTimeout(resolve, 3000));
  }
}

// Cards.

function makeCard(name) {
  const card = { root: make('article', 'card'), facts: {}, history: { read: [], write: [], delay: [], ops: 0 }, last: null };
  card.root.dataset.image = name;
  const title = make('h3');
  title.append(make('span', '', name), card.pill = make('span', 'pill'), card.tag = make('span', 'pill off', 'read-only'), card.button = make('button'));
  card.button.addEventListener('click', () => toggle(name));
  card.reason = make('p', 'reason');
  const facts = make('dl', 'facts');
  for (const [key, label] of [['size', 'Size'], ['device', 'Device'], ['proxy', 'Proxy'], ['io', 'Requests'], ['kept', 'Not yet durable'], ['errors', 'Errors'], ['stalls', 'Stalls'], ['missing', 'Missing']]) {
    const term = make('dt', '', label), value = make('dd');
    value.dataset.fact = key;
    facts.append(term, value);
    card.facts[key] = { term, value };
  }
  card.charts = make('div', 'charts');
  card.throughput = chart('read', 'write');
  card.latency = chart('delay');
  const left = make('figure'), right = make('figure');
  const caption = make('figcaption'), captionRight = make('figcaption');
  caption.append(card.readRate = make('span', 'read'), card.writeRate = make('span', 'write'));
  captionRight.append(card.delay = make('span', 'delay'));
  left.append(caption, card.throughput.svg);
  right.append(captionRight, card.latency.svg);
  card.charts.append(left, right);
  card.heat = make('figure', 'heat');
  const ends = make('figcaption');
  const legend = make('span', '', 'where it is ');
  legend.append(make('span', 'read', 'read'), ' and ', make('span', 'write', 'written'));
  ends.append(make('span', '', '0'), legend, card.heatEnd = make('span'));
  card.canvas = make('canvas');
  card.heat.append(card.canvas, ends);
  card.heat.hidden = true;
  card.root.append(title, card.reason, facts, card.charts, card.heat);
  return card;
}

function fact(card, key, text) {
  setText(card.facts[key].value, text);
  card.facts[key].term.hidden = card.facts[key].value.hidden = !text;
}

function showImage(image) {
  let card = cards.get(image.name);
  if (!card) {
    card = makeCard(image.name);
    cards.set(image.name, card);
    const after = [...cards.keys()].filter(name => name > image.name).sort()[0];
    $('images').insertBefore(card.root, after === undefined ? null : cards.get(after).root);
  }
  const attached = image.state !== 'inactive';
  card.root.className = 'card ' + tone(image.state) + (card.root.classList.contains('flash') ? ' flash' : '');
  pill(card.pill, image.detach_pending ? 'detach pending' : image.state);
  card.tag.hidden = !image.read_only;
  card.button.hidden = !(session && session.control);
  setText(card.button, isAttached(image) ? 'Detach' : 'Attach');
  card.button.disabled = image.state === 'detaching';
  setText(card.reason, image.state_reason || '');
  card.reason.hidden = !image.state_reason;
  fact(card, 'size', image.size ? size(image.size) : '');
  fact(card, 'device', image.device);
  fact(card, 'proxy', image.active_proxy ? image.active_proxy + (image.sessions > 1 ? ` (${image.sessions} connections)` : '') + (image.standby_proxy ? `, in reserve ${image.standby_proxy}` : '') : '');
  fact(card, 'missing', image.missing_features && image.missing_features.length ? image.missing_features.join(', ') : '');
  card.charts.hidden = !attached;
  showNumbers(card, image);
}

function showNumbers(card, image) {
  const attached = image.state !== 'inactive', h = card.history;
  fact(card, 'io', attached ? `${h.ops} /s, ${image.in_flight} in flight` + (image.failovers ? `, ${image.failovers} failover${image.failovers > 1 ? 's' : ''}` : '') : '');
  fact(card, 'kept', image.retained_bytes ? size(image.retained_bytes) : '');
  fact(card, 'errors', image.errors ? String(image.errors) : '');
  fact(card, 'stalls', image.stalls ? `${image.stalls}, the longest ${delay(image.longest_stall_usec)}` + (image.stalled_usec ? `; nothing is answered for ${delay(image.stalled_usec)}` : '') : '');
  card.facts.stalls.value.classList.toggle('alarm', Boolean(image.stalled_usec));
}

// A second has gone by.
function addPoint(card, image, now) {
  const h = card.history, last = card.last;
  card.last = { now, reads: image.read_operations, writes: image.write_operations, flushes: image.flush_operations, read: image.read_bytes, written: image.written_bytes };
  // Counters begin anew with a new worker.
  if (!last || image.read_bytes < last.read || image.written_bytes < last.written) return;
  const seconds = Math.max(0.2, (now - last.now) / 1000);
  const push = (list, value) => { list.push(value); if (list.length > POINTS) list.shift(); };
  push(h.read, (image.read_bytes - last.read) / seconds);
  push(h.write, (image.written_bytes - last.written) / seconds);
  push(h.delay, image.latency_usec);
  h.ops = Math.round((image.read_operations + image.write_operations + image.flush_operations - last.reads - last.writes - last.flushes) / seconds);
  setText(card.readRate, 'read ' + size(h.read.at(-1)) + '/s');
  setText(card.writeRate, 'write ' + size(h.write.at(-1)) + '/s');
  setText(card.delay, 'latency ' + (image.latency_usec ? delay(image.latency_usec) : '–'));
  draw(card.throughput, h.read, h.write);
  draw(card.latency, h.delay);
}

// The rest of the page.

async function askProxies() {
  configured = [];
  try {
    configured = (await call('GET', '/api/v1/proxies')).proxies;
  } catch {
    // The images say what is wrong.
  }
  if (configured.length > 0) showProxies();
}

function showProxies() {
  const proxies = new Map(), order = Object.keys(tones);
  for (const image of images.values())
    for (const seen of image.proxies || []) {
      const proxy = proxies.get(seen.address) || { ...seen, serves: [] };
      if (order.indexOf(seen.state) >= 0 && (order.indexOf(seen.state) < order.indexOf(proxy.state) || order.indexOf(proxy.state) < 0)) Object.assign(proxy, seen);
      if (seen.state === 'active') proxy.serves.push(image.name);
      proxies.set(seen.address, proxy);
    }
  // With nothing attached nobody knows them; the server asks them once for us.
  if (proxies.size === 0 && configured === null) askProxies();
  if (proxies.size > 0) configured = null;
  for (const proxy of configured || []) proxies.set(proxy.address, { ...proxy, serves: [] });
  const rows = [...proxies.values()].sort((a, b) => a.priority - b.priority || (a.address < b.address ? -1 : 1)).map(proxy => {
    const row = make('tr'), state = make('td');
    row.dataset.proxy = proxy.address;
    state.append(make('span', 'pill ' + tone(proxy.state), proxy.state));
    row.append(make('td', '', proxy.address), state, make('td', 'number', proxy.round_trip_usec ? delay(proxy.round_trip_usec) : '–'),
      make('td', 'number', String(proxy.priority)), make('td', '', proxy.serves.sort().join(', ') || '–'),
      make('td', '', proxy.failures ? `${proxy.failures} failure${proxy.failures > 1 ? 's' : ''}${proxy.reason ? ': ' + proxy.reason : ''}` : 'fine'));
    // Where there is no room for columns, each says what it is.
    [...row.children].forEach((cell, i) => { cell.dataset.label = $('proxies').parentElement.tHead.rows[0].cells[i].textContent; });
    return row;
  });
  $('proxies').replaceChildren(...rows);
  $('no-proxies').hidden = rows.length > 0;
}

function showJobs() {
  $('jobs').replaceChildren(...[...jobs.values()].sort((a, b) => a.id - b.id).map(job => {
    const row = make('div', 'job'), amount = job.unit === 'bytes' ? size : n => n + ' ' + job.unit;
    const words = [`${job.kind}${job.subject ? ' of ' + job.subject : ''}: ${job.state}`];
    if (job.total) words.push(`${amount(job.progress)} of ${amount(job.total)}`);
    if (job.rate && job.state === 'running') words.push(amount(job.rate) + '/s');
    if (job.message) words.push(job.message);
    row.append(make('span', '', words.join(', ')));
    if (session && session.control && job.state === 'running') {
      const button = make('button', '', 'Cancel');
      button.addEventListener('click', async () => {
        if (await ask({ title: `Cancel ${job.kind}?`, text: 'What is half-done is finished or undone first.', yes: 'Cancel the job', danger: true }))
          await change(`/api/v1/jobs/${job.id}/cancel`, {}, 'Not cancelled');
      });
      row.append(button);
    }
    const progress = make('progress');
    if (job.total) { progress.max = job.total; progress.value = job.progress; }
    if (job.state === 'running' || job.state === 'cancelling') row.append(progress);
    return row;
  }));
  $('jobs-section').hidden = jobs.size === 0;
}

function showFailovers() {
  $('failovers').replaceChildren(...failovers.slice(-20).reverse().map(f => {
    const row = make('li'), when = new Date(f.time_usec / 1000), time = make('time', '', when.toLocaleString());
    time.dateTime = when.toISOString();
    row.append(time, make('b', '', f.image), make('span', '', f.from && f.from !== f.to ? `${f.from} → ${f.to}` : `${f.to}, new connections`));
    if (f.duration_usec) row.append(make('span', 'took', 'after ' + delay(f.duration_usec)));
    return row;
  }));
  $('no-failovers').hidden = failovers.length > 0;
}

function showSummary() {
  const count = state => [...images.values()].filter(image => image.state === state).length;
  const words = [`${count('attached')} of ${images.size} attached`], troubles = ['reconnecting', 'parked', 'failed'].filter(count);
  words.push(...troubles.map(state => `${count(state)} ${state}`));
  setText($('summary'), words.join(', '));
  $('summary').className = troubles.some(state => state !== 'reconnecting') ? 'bad' : '';
  $('no-images').hidden = images.size > 0;
  document.title = (troubles.length ? '⚠ ' : '') + 'blockstore';
}

function dropImage(name) {
  images.delete(name);
  const card = cards.get(name);
  if (card) card.root.remove();
  cards.delete(name);
}

function showEverything() {
  for (const name of [...cards.keys()]) if (!images.has(name)) dropImage(name);
  for (const image of images.values()) showImage(image);
  showProxies(); showJobs(); showFailovers(); showSummary();
}

// Events.

const handlers = {
  snapshot(data) {
    images.clear(); jobs.clear(); configured = null;
    for (const image of data.images) images.set(image.name, image);
    for (const job of data.jobs) jobs.set(job.id, job);
    failovers = data.failovers;
    showEverything();
  },
  image(image) { images.set(image.name, image); showImage(image); showProxies(); showSummary(); },
  'image-removed'({ name }) { dropImage(name); showProxies(); showSummary(); },
  job(job) { jobs.set(job.id, job); showJobs(); },
  'job-removed'({ id }) { jobs.delete(id); showJobs(); },
  failover(failover) {
    failovers.push(failover);
    showFailovers();
    const card = cards.get(failover.image);
    if (!card) return;
    card.root.classList.remove('flash');
    void card.root.offsetWidth; // so that the animation begins anew
    card.root.classList.add('flash');
  },
  counters(list) {
    const now = performance.now();
    for (const counters of list) {
      const image = images.get(counters.name), card = cards.get(counters.name);
      if (!image || !card) continue;
      Object.assign(image, counters);
      addPoint(card, image, now);
      showNumbers(card, image);
    }
  },
};

function dispatch(block) {
  let name = '', data = '';
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) name = line.slice(7);
    else if (line.startsWith('data: ')) data += line.slice(6);
  }
  if (Object.hasOwn(handlers, name)) handlers[name](JSON.parse(data));
}

async function listen() {
  session = await call('GET', '/api/v1/session');
  setText($('version'), 'blockstore ' + session.version);
  $('attach-new').hidden = !session.control;
  const answer = await fetch('/api/v1/events', { headers: headers(), cache: 'no-store', credentials: 'omit' });
  if (!answer.ok) throw new Refusal(answer.status, (await answer.json().catch(() => ({}))).message || 'The server said ' + answer.status + '.');
  live(true);
  notice('');
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    const { done, value } = await reader.read();
    if (done) throw new Error('The server has ended the connection.');
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    blocks.forEach(dispatch);
  }
}

function live(is) {
  $('live').dataset.live = is ? 'yes' : 'no';
  setText($('live').lastElementChild, is ? 'live' : 'connecting');
}

async function main() {
  setText($('host'), location.hostname);
  $('attach-new').addEventListener('click', attachNew);
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    const began = Date.now();
    try {
      await listen();
    } catch (error) {
      live(false);
      if (Date.now() - began > 5000) wait = 500;
      if (error.status === 401 && await askToken()) continue;
      notice((error instanceof Refusal ? error.message : 'The connection is lost.') + ' Trying again.');
    }
    await new Promise(resolve => setTimeout(resolve, wait));
  }
}

main();
showHeat();
