"""Handwritten digits with a small convolutional network, the way keras.io does it."""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

keras.utils.set_random_seed(0)

# The data: 1,797 images of 8x8, scaled to [0, 1], with a channel axis
digits = load_digits()
images = np.expand_dims(digits.images.astype("float32") / 16, -1)
x_train, x_test = images[:1500], images[1500:]
y_train = keras.utils.to_categorical(digits.target[:1500], 10)
y_test = keras.utils.to_categorical(digits.target[1500:], 10)

# The model
model = keras.Sequential(
    [
        keras.Input(shape=(8, 8, 1)),
        layers.Conv2D(16, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(10, activation="softmax"),
    ]
)
model.summary()

# Training
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=8, validation_split=0.1)

# Evaluation
score = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", score[0])
print("Test accuracy:", score[1])
