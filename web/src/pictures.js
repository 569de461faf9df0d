// Pictures that go with a message, as data: URLs.
import { computed, signal } from '@preact/signals';
import { isSeeing, model, mostPictures } from './store.js';

const longestEdge = 1568; // more than any model looks at
const readTypes = ['image/png', 'image/jpeg', 'image/webp', 'image/gif'];
const smallBytes = 1_000_000;

export const attached = signal([]);
export const sees = computed(() => isSeeing(model.value));

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// A small file goes as it is; a large one, or one of a kind that the node does not read, is drawn anew.
async function asPicture(file) {
  if (readTypes.includes(file.type) && file.size <= smallBytes) return dataUrl(file);
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, longestEdge / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/jpeg', 0.92);
}

// Whether any of the files was a picture.
export function attach(files) {
  const pictures = [...(files ?? [])].filter((file) => file.type.startsWith('image/'));
  if (!sees.value || pictures.length === 0) return false;
  Promise.allSettled(pictures.map(asPicture)).then((read) => {
    const urls = read.filter((one) => one.status === 'fulfilled').map((one) => one.value);
    attached.value = [...attached.value, ...urls].slice(0, mostPictures);
  });
  return true;
}

export function detach(index) {
  attached.value = attached.value.filter((_, i) => i !== index);
}
