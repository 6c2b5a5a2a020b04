/**
 * `node browse.mjs MODULES URL`: runs the page at URL in a headless Chromium and prints what the page's script reports, as JSON.
 * The page says that it is done by setting `window.report`.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, url] = process.argv.slice(2);
const require = createRequire(join(modules, 'anything.js'));
const { default: chromium } = await import(pathToFileURL(require.resolve('@sparticuz/chromium')).href);
const { chromium: driver } = require('playwright-core');
const browser = await driver.launch({
  executablePath: await chromium.executablePath(),
  args: [
    ...chromium.args,
    '--no-sandbox',
    '--disable-quic',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
  ],
  headless: true,
});
try {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.goto(url);
  await page.waitForFunction('window.report !== undefined', undefined, { timeout: 20_000 });
  const report = await page.evaluate('window.report');
  console.log(JSON.stringify({ ...report, problems }));
} finally {
  await browser.close();
}
