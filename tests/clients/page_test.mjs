// The web page in Chromium, against a running node: node page_test.mjs BASE_URL [SCREENSHOT_FOLDER]
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [base, screenshots] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
});

async function shot(page, name) {
  if (screenshots) await page.screenshot({ path: `${screenshots}/${name}.png` });
}

async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const foreign = [];
  const errors = [];
  page.on('request', (request) => { if (!/^(data:|blob:)/.test(request.url()) && !request.url().startsWith(base)) foreign.push(request.url()); });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()); });
  await page.goto(base);
  return { page, context, foreign, errors };
}

async function desktop() {
  const { page, context, foreign, errors } = await open({ viewport: { width: 1280, height: 800 } });
  await page.getByText('Your devices, one model.').waitFor();
  await page.locator('[data-testid=ring] .node').nth(1).waitFor();
  await page.getByLabel('Message', { exact: true }).fill('What is exo?');
  await page.keyboard.press('Enter');
  await page.locator('[data-testid=stats]').waitFor();
  const text = await page.locator('.message.assistant .markdown').innerText();
  assert.match(text, /device|cluster|exo/i);
  assert.match(await page.locator('[data-testid=stats]').innerText(), /ms to first token .* tokens\/s/);
  await page.locator('[data-testid=ring] .layers', { hasText: '–' }).nth(1).waitFor();
  await shot(page, 'desktop');

  // What a model writes is hostile: nothing of it runs and nothing is fetched.
  const hostile = '<img src=x onerror="window.hit=1"> [a](javascript:window.hit=1) ![p](http://example.com/p.png)\n\n<script>window.hit=1</script>\n\n```js\nlet a = 1 < 2;\n```';
  await page.evaluate((content) => {
    localStorage.setItem('exo-chats', JSON.stringify([{ id: 'h', title: 'hostile', model: 'demo', messages: [{ role: 'user', content: 'x' }, { role: 'assistant', content }] }]));
  }, hostile);
  await page.reload();
  await page.getByRole('button', { name: 'hostile', exact: true }).click();
  await page.locator('.message.assistant .code').waitFor();
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal(await page.locator('.message.assistant img, .message.assistant script').count(), 0);
  assert.equal(await page.locator('.message.assistant a[href^="javascript"]').count(), 0);
  await page.getByRole('button', { name: 'New chat' }).click();
  await page.getByText('Your devices, one model.').waitFor();
  assert.deepEqual(foreign, [], 'the page asks nobody else');
  assert.deepEqual(errors, []);
  await context.close();
}

async function phone() {
  const { page, context, errors } = await open({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, colorScheme: 'dark' });
  await page.getByLabel('Message', { exact: true }).fill('tell me a story about a turtle');
  await page.getByRole('button', { name: 'Send' }).click();
  await page.locator('[data-testid=stats]').waitFor();
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 360, `the page is ${width} pixels wide on a phone of 360`);
  await shot(page, 'phone');
  await page.getByRole('button', { name: 'Cluster' }).click();
  await page.locator('[data-testid=ring] .node').first().waitFor({ state: 'visible' });
  await shot(page, 'phone-ring');
  assert.deepEqual(errors, []);
  await context.close();
}

async function stopping() {
  const { page, context } = await open({ viewport: { width: 1000, height: 700 } });
  // A slow answer: the reply is held back by the test until Stop was pressed.
  await page.route('**/v1/chat/completions', () => {});
  await page.getByLabel('Message', { exact: true }).fill('wait');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('button', { name: 'Send' }).waitFor();
  await context.close();
}

// A node whose model sees, played by the test.
async function pictures() {
  const { page, context, errors } = await open({ viewport: { width: 1000, height: 700 } });
  const attachButton = page.getByLabel('Add a picture');
  assert.equal(await attachButton.count(), 0, 'a model that takes text only is not offered pictures');
  await page.route('**/v1/models', (route) => route.fulfill({ json: { data: [{ id: 'seer', default: true, vision: true }] } }));
  let asked;
  await page.route('**/v1/chat/completions', (route) => {
    asked = route.request().postDataJSON();
    const chunk = { choices: [{ index: 0, delta: { content: 'A dot.' }, finish_reason: 'stop' }] };
    return route.fulfill({ contentType: 'text/event-stream', body: `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n` });
  });
  await page.reload();
  const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';
  const file = { name: 'dot.png', mimeType: 'image/png', buffer: Buffer.from(png, 'base64') };
  await attachButton.setInputFiles([file, file]);
  await page.getByLabel('Remove the picture').nth(1).click();
  await page.getByLabel('Message', { exact: true }).fill('What is it?');
  await shot(page, 'pictures');
  await page.keyboard.press('Enter');
  await page.getByText('A dot.').waitFor();
  assert.deepEqual(asked.messages.at(-1).content, [
    { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } },
    { type: 'text', text: 'What is it?' },
  ]);
  assert.equal(await page.locator('.message.user img').count(), 1);
  assert.equal(await page.getByLabel('Remove the picture').count(), 0);
  assert.deepEqual(errors, []);
  await context.close();
}

for (const test of [desktop, phone, stopping, pictures]) {
  try {
    await test();
    console.log(`ok page: ${test.name}`);
  } catch (error) {
    console.log(`FAILED page: ${test.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
await browser.close();
