"""Forecast a series from its last 24 values, with windows from tf.data and two callbacks."""

import keras
import numpy as np

keras.utils.set_random_seed(1234)

# A daily and a weekly rhythm with noise, hour by hour
hours = np.arange(2000)
series = np.sin(2 * np.pi * hours / 24) + 0.5 * np.sin(2 * np.pi * hours / 168)
series = (series + 0.1 * np.random.normal(size=hours.size)).astype("float32")

past, split = 24, 1600


def windows(values, shuffle):
    """Return a dataset of batches: 24 values, and the value that follows them."""
    return keras.utils.timeseries_dataset_from_array(
        values[:-past], values[past:], sequence_length=past, batch_size=64, shuffle=shuffle
    )


train, validation = windows(series[:split, None], True), windows(series[split:, None], False)

inputs = keras.Input(shape=(past, 1))
outputs = keras.layers.Dense(1)(keras.layers.LSTM(16)(inputs))
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(learning_rate=0.01), loss="mse", metrics=["mae"])

history = model.fit(
    train,
    epochs=6,
    validation_data=validation,
    callbacks=[
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=1),
    ],
    verbose=2,
)
print("best validation loss:", min(history.history["val_loss"]))
forecast = model.predict(validation.take(1), verbose=0)
print("first forecasts:", forecast[:3, 0])
