'use strict';
// Data, small helpers and plots, as SVG.
const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);

function shown(value) {
  if (value === null || value === undefined) return '';
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en');
  return Number(value.toPrecision(3)).toString();
}

function element(name, text = '', className = '') {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function svg(name, attributes, text = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function figure(title, drawing) {
  const made = element('figure');
  made.append(element('figcaption', title), drawing);
  return made;
}

const CHARACTER_PX = 6.2; // of the plots' text

// Ticks that have room: each text stays within the drawing and apart from the one before.
function fitting(ticks, width) {
  let end = -Infinity;
  const kept = [];
  for (const [x, text] of ticks) {
    const half = (text.length * CHARACTER_PX) / 2;
    const centre = Math.min(x, width - half - 1);
    if (centre - half <= end + 6) continue;
    end = centre + half;
    kept.push([centre, text]);
  }
  return kept;
}

function histogram(title, counts, first, ticks, colour) {
  const width = 420, height = 150, bottom = 22, top = 10, right = 10;
  const most = Math.max(...counts);
  const left = 12 + CHARACTER_PX * shown(most).length, bar = (width - left - right) / counts.length;
  const drawing = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': title });
  const y = (count) => height - bottom - (count / most) * (height - bottom - top);
  for (const count of new Set([0, most])) {
    drawing.append(svg('line', { x1: left, x2: width - right, y1: y(count), y2: y(count), stroke: '#dde2e6' }));
    drawing.append(svg('text', { x: left - 5, y: y(count) + 4, 'text-anchor': 'end' }, shown(count)));
  }
  counts.forEach((count, index) => {
    if (!count) return;
    const box = { x: left + index * bar + 0.5, y: y(count), width: Math.max(bar - 1, 1), height: height - bottom - y(count) };
    const rectangle = svg('rect', { ...box, fill: colour });
    rectangle.append(svg('title', {}, shown(count)));
    drawing.append(rectangle);
  });
  for (const [x, text] of fitting(ticks.map(([place, text]) => [left + (place - first) * bar, text]), width)) {
    drawing.append(svg('text', { x, y: height - 6, 'text-anchor': 'middle' }, text));
  }
  return figure(title, drawing);
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
  for (let bin = first; bin <= end; bin += 1) {
    // 1, 2 and 5 of each decade, where these are borders of bins: 2 = 10^0.3 and 5 = 10^0.7, rounded
    const leading = { 0: 1, [Math.round(0.3 * step)]: 2, [Math.round(0.7 * step)]: 5 }[bin % step];
    if (leading) ticks.push([bin, (leading * 10 ** Math.floor(bin / step)).toLocaleString('en')]);
  }
  return [histogram('Osteoclasts by area (µm²)', counts.slice(first, end), first, ticks, data.colours.osteoclast)];
}

function nucleiHistogram(counts) {
  if (!counts || !counts.some(Boolean)) return [];
  const end = Math.max(counts.findLastIndex(Boolean) + 1, 6);
  const ticks = [];
  for (let nuclei = 0; nuclei < end; nuclei += 1) {
    ticks.push([nuclei + 0.5, nuclei === data.mostNuclei ? `${nuclei}+` : `${nuclei}`]);
  }
  return [histogram('Cells by number of nuclei', counts.slice(0, end), 0, ticks, data.colours.nucleus)];
}

function histograms(images) {
  return [...areaHistogram(sum(images.map((image) => image.areas))), ...nucleiHistogram(sum(images.map((image) => image.nuclei)))];
}

const CONDITION_COLOURS = ['#7a2e6a', '#1f77b4', '#d95f02', '#2a9d55', '#8c6d1f', '#c2185b', '#00838f', '#555'];

// The end of an axis: 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten.
function roundTop(value) {
  if (!(value > 0)) return 1;
  const decade = 10 ** Math.floor(Math.log10(value));
  return ([1, 1.5, 2, 3, 4, 5, 6, 8].find((leading) => leading * decade >= value) ?? 10) * decade;
}

// Mean, standard deviation and a point for each replicate.
function conditionPlot(plot) {
  const longest = Math.max(...plot.groups.map((group) => group.name.length));
  const width = 320, height = 210 + (longest > 9 ? 40 : 0), top = 26, right = 8, bottom = longest > 9 ? 70 : 30;
  const values = plot.groups.flatMap((group) => [...group.points.map(([, value]) => value), (group.mean ?? 0) + (group.sd ?? 0)]);
  const most = roundTop(Math.max(...values));
  const ticks = [0, most / 2, most];
  const left = 14 + CHARACTER_PX * Math.max(...ticks.map((tick) => shown(tick).length));
  const step = (width - left - right) / plot.groups.length;
  const y = (value) => height - bottom - (Math.max(value, 0) / most) * (height - bottom - top);
  const drawing = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': plot.title });
  for (const value of ticks) {
    drawing.append(svg('line', { x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: '#dde2e6' }));
    drawing.append(svg('text', { x: left - 5, y: y(value) + 4, 'text-anchor': 'end' }, shown(value)));
  }
  plot.groups.forEach((group, index) => {
    const x = left + (index + 0.5) * step, colour = CONDITION_COLOURS[index % CONDITION_COLOURS.length];
    if (group.mean !== null) {
      const half = Math.min(step / 3, 26);
      drawing.append(svg('line', { x1: x - half, x2: x + half, y1: y(group.mean), y2: y(group.mean), stroke: colour, 'stroke-width': 2 }));
      if (group.sd !== null) {
        const line = { x1: x, x2: x, y1: y(group.mean - group.sd), y2: y(group.mean + group.sd), stroke: colour };
        drawing.append(svg('line', line));
      }
    }
    group.points.forEach(([unit, value], place) => {
      const aside = ((place % 5) - (Math.min(group.points.length, 5) - 1) / 2) * Math.min(6, step / 8);
      const point = svg('circle', { cx: x + aside, cy: y(value), r: 3.5, fill: colour, 'fill-opacity': 0.7 });
      point.append(svg('title', {}, `${unit}: ${shown(value)}`));
      drawing.append(point);
    });
    if (group.p !== null) drawing.append(svg('text', { x, y: 12, 'text-anchor': 'middle' }, `p ${shown(group.p)}`));
    const name = { x, y: height - bottom + 16, 'text-anchor': 'middle' };
    if (longest > 9) Object.assign(name, { 'text-anchor': 'end', transform: `rotate(-35 ${x} ${height - bottom + 12})` });
    const text = group.name.length > 14 ? `${group.name.slice(0, 13)}…` : group.name;
    const label = svg('text', name, text);
    label.append(svg('title', {}, group.name));
    drawing.append(label);
  });
  return figure(plot.title, drawing);
}
