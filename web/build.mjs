// Builds web/dist from web/src. The result is committed, so that building exo needs no Node; a test rebuilds it
// and compares. File names carry a hash of their contents and may be cached for ever.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const out = process.argv[2] ?? `${here}dist`;

const result = await build({
  entryPoints: [`${here}src/main.jsx`, `${here}src/style.css`],
  bundle: true,
  minify: true,
  write: false,
  outdir: 'out',
  format: 'esm',
  target: ['es2021', 'safari15'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
});

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
let page = readFileSync(`${here}src/index.html`, 'utf8');
for (const file of result.outputFiles) {
  const [, name, extension] = /([a-z]+)\.(js|css)$/.exec(file.path);
  const hash = createHash('sha256').update(file.contents).digest('hex').slice(0, 10);
  const hashed = `${name}.${hash}.${extension}`;
  writeFileSync(`${out}/${hashed}`, file.contents);
  page = page.replace(`${name}.${extension}`, hashed);
}
writeFileSync(`${out}/index.html`, page);
