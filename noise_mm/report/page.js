'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const names = Object.keys(data.wells);
const byId = (id) => document.getElementById(id);
const cards = new Map([...document.querySelectorAll('.well')].map((card) => [card.dataset.well, card]));

function shown(value) {
  if (value === null || value === undefined) return '';
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en');
  return Number(value.toPrecision(3)).toString();
}

function element(name, text = '') {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// The number under each picture, and the tint by its share of the largest.
function showMeasure(measure) {
  const values = names.map((name) => data.wells[name].values[measure]);
  const largest = Math.max(...values.map((value) => value ?? 0));
  for (const [name, card] of cards) {
    const value = data.wells[name].values[measure];
    card.querySelector('.value').textContent = shown(value);
    card.style.setProperty('--share', largest > 0 && value ? value / largest : 0);
  }
}

// Histograms, as SVG.
function svg(name, attributes, text = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function histogram(title, counts, first, ticks, colour) {
  const width = 420, height = 150, left = 46, bottom = 22, top = 8;
  const most = Math.max(...counts), bar = (width - left - 8) / counts.length;
  const figure = element('figure');
  figure.append(element('figcaption', title));
  const drawing = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': title });
  const y = (count) => height - bottom - (count / most) * (height - bottom - top);
  for (const count of new Set([0, most])) {
    drawing.append(svg('line', { x1: left, x2: width - 8, y1: y(count), y2: y(count), stroke: '#dde2e6' }));
    drawing.append(svg('text', { x: left - 5, y: y(count) + 4, 'text-anchor': 'end' }, shown(count)));
  }
  counts.forEach((count, index) => {
    if (!count) return;
    const box = { x: left + index * bar + 0.5, y: y(count), width: Math.max(bar - 1, 1), height: height - bottom - y(count) };
    const rectangle = svg('rect', { ...box, fill: colour });
    rectangle.append(svg('title', {}, shown(count)));
    drawing.append(rectangle);
  });
  for (const [place, text] of ticks) {
    const x = left + (place - first) * bar;
    drawing.append(svg('text', { x, y: height - 6, 'text-anchor': 'middle' }, text));
  }
  figure.append(drawing);
  return figure;
}

function sum(lists) {
  const counted = lists.filter((list) => list !== null);
  return counted.length ? counted[0].map((_, index) => counted.reduce((total, list) => total + list[index], 0)) : null;
}

function areaHistogram(counts) {
  if (!counts || !counts.some(Boolean)) return [];
  const used = counts.flatMap((count, index) => (count ? [index] : []));
  const step = data.binsPerDecade;
  const first = Math.max(used[0] - 2, 0), end = Math.min(used.at(-1) + 3, counts.length);
  const ticks = [];
  for (let bin = 0; bin <= counts.length; bin += 1) {
    const decade = Math.floor(bin / step);
    // 1, 2 and 5 of each decade, where these are borders of bins: 2 = 10^0.3 and 5 = 10^0.7, rounded
    const leading = { 0: 1, [Math.round(0.3 * step)]: 2, [Math.round(0.7 * step)]: 5 }[bin % step];
    if (leading && bin >= first && bin <= end) ticks.push([bin, (leading * 10 ** decade).toLocaleString('en')]);
  }
  const few = ticks.length > 8 ? ticks.filter(([bin]) => bin % step === 0) : ticks;
  return [histogram('Osteoclasts by area (µm²)', counts.slice(first, end), first, few, data.colours.osteoclast)];
}

function nucleiHistogram(counts) {
  if (!counts || !counts.some(Boolean)) return [];
  const end = Math.max(counts.findLastIndex(Boolean) + 1, 6);
  const every = end > 16 ? 5 : end > 8 ? 2 : 1;
  const ticks = [];
  for (let nuclei = 0; nuclei < end; nuclei += every) {
    ticks.push([nuclei + 0.5, nuclei === data.mostNuclei ? `${nuclei}+` : `${nuclei}`]);
  }
  return [histogram('Cells by number of nuclei', counts.slice(0, end), 0, ticks, data.colours.nucleus)];
}

function histograms(wells) {
  return [...areaHistogram(sum(wells.map((well) => well.areas))), ...nucleiHistogram(sum(wells.map((well) => well.nuclei)))];
}

// Sorting: numbers by size, names as people count (A2 before A10), empty fields last.
function sortBy(head) {
  const body = byId('wells').tBodies[0], column = head.cellIndex;
  const sign = head.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
  const key = (row) => row.cells[column].dataset.sort;
  const isText = [...body.rows].some((row) => key(row) !== '' && Number.isNaN(Number(key(row))));
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === '' || b === '') return (a === '') - (b === '');
    return sign * (isText ? a.localeCompare(b, 'en', { numeric: true }) : Number(a) - Number(b));
  });
  for (const other of head.parentElement.cells) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending');
  body.append(...rows);
}

// What is counted, beside the colour in which it is drawn.
function term(key, label) {
  const made = element('dt', label);
  if (Object.hasOwn(data.drawnAs, key)) {
    const swatch = element('span');
    swatch.className = 'swatch';
    swatch.style.background = data.drawnAs[key];
    made.append(swatch);
  }
  return made;
}

// The zoomed well: first the picture in this page, then, if it lies beside the page, the full overlay.
const dialog = byId('zoom'), image = byId('zoom-image'), frame = byId('frame');
let current = null;

function showWell(name) {
  const well = data.wells[name];
  current = name;
  byId('zoom-name').textContent = well.condition ? `${name} · ${well.condition}` : name;
  byId('zoom-hint').textContent = 'click the picture to enlarge it';
  frame.classList.remove('large');
  frame.style.removeProperty('--full');
  image.src = cards.get(name).querySelector('img').src;
  if (well.overlay) {
    const full = new Image();
    full.onload = () => {
      if (current !== name) return;
      image.src = full.src;
      frame.style.setProperty('--full', `${full.naturalWidth}px`);
    };
    full.src = well.overlay;
  }
  const facts = Object.entries(data.measures).filter(([key]) => well.values[key] !== null);
  byId('zoom-facts').replaceChildren(
    ...facts.flatMap(([key, label]) => [term(key, label), element('dd', shown(well.values[key]))]));
  byId('zoom-notes').replaceChildren(...well.notes.map((note) => element('li', note)));
  byId('zoom-histograms').replaceChildren(...histograms([well]));
  byId('zoom-files').replaceChildren(...well.files.map(([label, path]) => {
    const link = element('a', label);
    link.href = path;
    return link;
  }));
  if (!dialog.open) dialog.showModal();
}

function followAddress() {
  const match = /^#well=(.*)$/.exec(location.hash);
  let name = null;
  try {
    name = match && decodeURIComponent(match[1]);
  } catch (error) {
    if (!(error instanceof URIError)) throw error; // an address typed by hand
  }
  if (name !== null && Object.hasOwn(data.wells, name)) showWell(name);
  else if (dialog.open) dialog.close();
}

function go(where) {
  if (where === 'close') {
    dialog.close();
    return;
  }
  const step = where === 'next' ? 1 : names.length - 1;
  location.hash = `well=${encodeURIComponent(names[(names.indexOf(current) + step) % names.length])}`;
}

byId('measure').addEventListener('change', (event) => showMeasure(event.target.value));
byId('histograms').replaceChildren(...histograms(Object.values(data.wells)));
for (const head of byId('wells').tHead.rows[0].cells) head.addEventListener('click', () => sortBy(head));
for (const button of dialog.querySelectorAll('[data-go]')) button.addEventListener('click', () => go(button.dataset.go));
dialog.addEventListener('close', () => {
  current = null;
  history.replaceState(null, '', location.pathname + location.search);
});
document.addEventListener('keydown', (event) => {
  if (dialog.open && event.key === 'ArrowLeft') go('previous');
  if (dialog.open && event.key === 'ArrowRight') go('next');
});
frame.addEventListener('click', (event) => {
  const box = image.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  frame.classList.toggle('large');
  // keep the place that was clicked in the middle
  frame.scrollTo(image.clientWidth * x - frame.clientWidth / 2, image.clientHeight * y - frame.clientHeight / 2);
});
window.addEventListener('hashchange', followAddress);
showMeasure(byId('measure').value);
followAddress();
