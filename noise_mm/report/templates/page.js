'use strict';
const names = Object.keys(data.images);
const cards = new Map([...document.querySelectorAll('.well')].map((card) => [card.dataset.well, card]));

// The number under each picture, and the tint by its share of the largest.
function showMeasure(measure) {
  const valueOf = (card) => data.images[card.dataset.image].values[measure];
  const largest = Math.max(...[...cards.values()].map((card) => valueOf(card) ?? 0));
  for (const card of cards.values()) {
    const value = valueOf(card);
    card.querySelector('.value').textContent = shown(value);
    card.style.setProperty('--share', largest > 0 && value ? value / largest : 0);
  }
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
    const swatch = element('span', '', 'swatch');
    swatch.style.background = data.drawnAs[key];
    made.append(swatch);
  }
  return made;
}

// A bar of a round length that takes about a fifth of the picture; its width is in percent, so it follows any zoom.
function drawScaleBar(bar, width_px, mpp) {
  bar.hidden = mpp === null;
  if (mpp === null) return;
  const wanted = (width_px * mpp) / 5, decade = 10 ** Math.floor(Math.log10(wanted));
  const length = [5, 2, 1].find((leading) => leading * decade <= wanted) * decade;
  bar.style.width = `${(100 * length) / (width_px * mpp)}%`;
  bar.textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
}

function cellFacts(image, cell, label) {
  const facts = element('dl');
  const rows = [['class', label], ['score', cell.score], ['area (µm²)', cell.area_um2], ['area (px²)', cell.area_px2],
    ['nuclei', cell.nuclei], ['solidity', cell.solidity], ['x, y (px)', cell.at.join(', ')]];
  for (const [name, value] of rows) {
    if (value === null || value === undefined) continue;
    facts.append(element('dt', name), element('dd', typeof value === 'number' ? shown(value) : value));
  }
  const made = [element('h3', cell.name)];
  if (cell.reasons.length) made.push(element('p', cell.reasons.join(', '), 'reasons'));
  made.push(facts, decisionButtons(image, cell.name));
  return made;
}

function outline(image, cell, label) {
  const path = svg('path', { d: cell.path, stroke: data.colours[label] ?? '#c08', tabindex: -1 });
  path.dataset.image = image;
  path.dataset.cell = cell.name;
  path.append(svg('title', {}, cell.name));
  return path;
}

// The enlarged image: first the picture in this page, then, if it lies beside the page, the full overlay.
const dialog = byId('zoom'), picture = byId('zoom-image'), frame = byId('frame'), lines = byId('zoom-lines');
let current = null, overlay = null;

// The overlay has its outlines drawn in, so it is only shown enlarged and with outlines.
function showPicture() {
  const image = data.images[current], large = frame.classList.contains('large') && byId('outlines').checked;
  if (large && image.overlay && overlay === null) {
    const of = current;
    overlay = new Image();
    overlay.onload = () => { if (current === of) showPicture(); };
    overlay.src = image.overlay;
  }
  const useOverlay = large && Boolean(overlay?.naturalWidth);
  picture.src = useOverlay ? overlay.src : image.picture ?? cards.get(image.well).querySelector('img').src;
  lines.classList.toggle('drawn', useOverlay);
}

function showImage(name) {
  const image = data.images[name];
  current = name;
  byId('zoom-whole').hidden = !image.field;
  const title = [image.well, image.field, image.condition].filter(Boolean).join(' · ');
  byId('zoom-name').textContent = title;
  byId('zoom-hint').textContent = image.leftOut
    ? `Click a cell for its measures; the first ${image.cells.length} have outlines here, the overlay shows all.`
    : 'Click a cell for its measures.';
  byId('cell-facts').hidden = true;
  frame.classList.remove('large');
  overlay = null;
  showPicture();
  const [width, height] = image.pictureSize.map((px) => px * data.subpixels);
  lines.setAttribute('viewBox', `0 0 ${width} ${height}`);
  lines.replaceChildren(...image.cells.map((cell, index) => outline(name, cell, image.labels[index])));
  frame.style.setProperty('--ratio', width / height);
  frame.style.setProperty('--full', `${Math.max(image.size[0] / 4, 1600)}px`);
  drawScaleBar(byId('scalebar'), image.size[0], image.mpp);
  const facts = Object.entries(data.measures).filter(([key]) => image.values[key] !== null);
  byId('zoom-facts').replaceChildren(
    ...facts.flatMap(([key, label]) => [term(key, label), element('dd', shown(image.values[key]))]));
  byId('zoom-notes').replaceChildren(...image.notes.map((note) => element('li', note)));
  byId('zoom-histograms').replaceChildren(...histograms([image]));
  byId('zoom-files').replaceChildren(...image.files.map(([label, path]) => {
    const link = element('a', label);
    link.href = path;
    return link;
  }));
  if (!dialog.open) dialog.showModal();
  showDecisions();
}

function selectCell(path) {
  lines.querySelector('.selected')?.classList.remove('selected');
  path.classList.add('selected');
  const image = data.images[current], index = [...lines.children].indexOf(path);
  byId('cell-facts').hidden = false;
  byId('cell-facts').replaceChildren(...cellFacts(current, image.cells[index], image.labels[index]));
  showDecisions();
}

// Cells to check, with a piece of the image at full resolution.
const LOOKS_AT_ONCE = 12;
let looksShown = LOOKS_AT_ONCE;

function look(entry) {
  const card = element('div', '', 'look'), image = data.images[entry.image];
  card.dataset.image = entry.image;
  card.dataset.cell = entry.name;
  const frame = element('div', '', 'crop'), img = element('img');
  img.src = entry.picture;
  img.alt = entry.name;
  const [width, height] = entry.picture_px.map((px) => px * data.subpixels);
  const drawing = svg('svg', { class: 'lines', viewBox: `0 0 ${width} ${height}` });
  drawing.append(outline(entry.image, entry, entry.label));
  const bar = element('div', '', 'scalebar');
  drawScaleBar(bar, entry.picture_px[0] / entry.scale, image.mpp);
  frame.append(img, drawing, bar);
  const link = element('a', `${image.well}${image.field ? ` ${image.field}` : ''}`);
  link.href = `#well=${encodeURIComponent(entry.image)}`;
  const text = element('div', '', 'look-text');
  text.append(link, ...cellFacts(entry.image, entry, entry.label));
  card.append(frame, text);
  return card;
}

function showLooks() {
  const reason = byId('reason').value;
  const wanted = data.looks.filter((entry) => !reason || entry.reasons.includes(reason));
  byId('looks').replaceChildren(...wanted.slice(0, looksShown).map(look));
  byId('more-looks').hidden = wanted.length <= looksShown;
  showDecisions();
}

function fillReasons() {
  const counts = new Map();
  for (const entry of data.looks) for (const reason of entry.reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  for (const [reason, count] of counts) {
    const option = element('option', `${reason} (${count})`);
    option.value = reason;
    byId('reason').append(option);
  }
  byId('looks-section').hidden = !data.looks.length;
}

function followAddress() {
  const match = /^#well=(.*)$/.exec(location.hash);
  let name = null;
  try {
    name = match && decodeURIComponent(match[1]);
  } catch (error) {
    if (!(error instanceof URIError)) throw error; // an address typed by hand
  }
  if (name !== null && Object.hasOwn(data.images, name)) showImage(name);
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

function showOutlines(event) {
  document.body.classList.toggle('plain', !event.target.checked);
  for (const box of [byId('outlines'), byId('zoom-outlines')]) box.checked = event.target.checked;
  if (current !== null) showPicture();
}

byId('measure').addEventListener('change', (event) => showMeasure(event.target.value));
byId('outlines').addEventListener('change', showOutlines);
byId('zoom-outlines').addEventListener('change', showOutlines);
byId('reason').addEventListener('change', () => { looksShown = LOOKS_AT_ONCE; showLooks(); });
byId('more-looks').addEventListener('click', () => { looksShown += LOOKS_AT_ONCE; showLooks(); });
byId('histograms').replaceChildren(...histograms(Object.values(data.images)));
byId('plots')?.replaceChildren(...data.plots.map(conditionPlot));
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
lines.addEventListener('click', (event) => {
  const path = event.target.closest('path');
  if (path) selectCell(path);
});
byId('enlarge').addEventListener('click', () => {
  frame.classList.toggle('large');
  showPicture();
});
window.addEventListener('hashchange', followAddress);
showMeasure(byId('measure').value);
fillReasons();
showLooks();
followAddress();
