// The web page says which nodes hold what of a model: node held_test.mjs BASE_URL MODEL
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [base, model] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
await page.goto(base);
await page.locator('.nodes .held').nth(1).waitFor();
const rows = (await page.locator('.nodes .held').allInnerTexts()).sort();
const firsts = rows.map((row) => {
  const found = row.match(/ on disk: layers (\d+)(–\d+)? of \d+ · [\d.]+ [kM]?B$/);
  assert.ok(found && row.startsWith(model), row);
  return Number(found[1]);
});
assert.equal(new Set(firsts).size, 2, `each its own layers: ${rows}`);
const option = await page.locator(`option[value="${model}"]`).innerText();
assert.match(option, / · on node-\d, node-\d$/);
await page.getByLabel('Model').selectOption(model);
assert.match(await page.getByLabel('Model').getAttribute('title'), /^node-\d: layers .*\nnode-\d: layers /);
console.log(`ok ${rows.join(' | ')}`);
await browser.close();
