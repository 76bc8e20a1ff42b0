'use strict';
// Decisions on single cells, kept in this browser until they are saved as a file.
const REVIEW_KEY = `noise_mm review ${location.pathname}`;
const decisions = new Map(); // image and name of the cell -> 'accepted' or 'rejected'
const keyOf = (image, name) => `${image}\n${name}`;

function remember() {
  try {
    localStorage.setItem(REVIEW_KEY, JSON.stringify([...decisions]));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error; // storage is switched off for files in some browsers
  }
}

function recall() {
  try {
    for (const [key, value] of JSON.parse(localStorage.getItem(REVIEW_KEY) ?? '[]')) decisions.set(key, value);
  } catch (error) {
    if (!(error instanceof DOMException || error instanceof SyntaxError)) throw error;
  }
}

function decide(image, name, decision) {
  if (decisions.get(keyOf(image, name)) === decision) decisions.delete(keyOf(image, name));
  else decisions.set(keyOf(image, name), decision);
  remember();
  showDecisions();
}

function showDecisions() {
  const values = [...decisions.values()];
  const rejected = values.filter((value) => value === 'rejected').length;
  byId('review-count').textContent = values.length
    ? `${rejected} rejected, ${values.length - rejected} accepted.` : 'No decisions yet.';
  byId('save-review').disabled = !values.length;
  for (const shape of document.querySelectorAll('[data-cell]')) {
    shape.dataset.decision = decisions.get(keyOf(shape.dataset.image, shape.dataset.cell)) ?? '';
  }
}

function decisionButtons(image, name) {
  const buttons = element('span', '', 'decide');
  buttons.dataset.image = image;
  buttons.dataset.cell = name;
  for (const [text, decision] of [['Accept', 'accepted'], ['Reject', 'rejected']]) {
    const button = element('button', text, decision);
    button.type = 'button';
    button.addEventListener('click', () => decide(image, name, decision));
    buttons.append(button);
  }
  return buttons;
}

function saveReview() {
  const images = {};
  for (const [key, decision] of decisions) {
    const [image, name] = key.split('\n');
    images[image] ??= { accepted: [], rejected: [] };
    images[image][decision].push(name);
  }
  const link = element('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify({ format: data.reviewFormat, images }, null, 1)]));
  link.download = 'review.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function loadReview(file) {
  const review = JSON.parse(await file.text());
  if (review.format !== data.reviewFormat) throw new Error('not a review of this program');
  for (const [image, lists] of Object.entries(review.images)) {
    for (const decision of ['accepted', 'rejected']) {
      for (const name of lists[decision] ?? []) decisions.set(keyOf(image, name), decision);
    }
  }
  remember();
  showDecisions();
}

byId('save-review').addEventListener('click', saveReview);
byId('load-review').addEventListener('change', (event) => {
  if (!event.target.files.length) return;
  loadReview(event.target.files[0]).catch((error) => {
    byId('review-count').textContent = `This file can't be loaded: ${error.message}.`;
  });
});
recall();
